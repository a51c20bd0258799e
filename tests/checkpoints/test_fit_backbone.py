# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from mmengine.logging import MMLogger

from vicmae.apis import convert_checkpoint
from vicmae.checkpoints.fit import load_backbone
from vicmae.errors import CheckpointError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config


def pretrained(config):
    """A pretrained model with a teacher that differs from its student."""
    model = MODELS.build(config)
    randomize(model.backbone, seed=1)
    (teacher,) = model.teachers.values()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.5)
    return model


@pytest.fixture
def source():
    return pretrained({**toy_vicmae_config(), 'target': dict(type='EMATarget')})


def save(path, state, key='state_dict'):
    torch.save({key: state} if key else state, path)
    return str(path)


def backbone_of(**changes):
    config = toy_transfer_config()
    config['backbone'].update(changes)
    return MODELS.build(config).backbone


def assert_equal(found, expected):
    assert set(found) <= set(expected)
    for name in found:
        assert found[name].equal(expected[name]), name


@pytest.mark.parametrize('branch', ['student', 'teacher'])
def test_backbone_of_each_branch_loads_completely(tmp_path, source, branch):
    path = save(tmp_path / 'a.pth', source.state_dict())
    backbone = backbone_of()
    load_backbone(backbone, path, branch=branch)
    expected = source.backbone if branch == 'student' else source.target.backbone
    assert_equal(backbone.state_dict(), expected.state_dict())


@pytest.mark.parametrize('kind', ['MAE', 'ViCMAE'])
def test_teacher_of_a_latent_prediction_loads(tmp_path, kind):
    config, loss = toy_vicmae_config(), dict(type='LatentPredictionLoss')
    config['head']['reconstruction'] = loss
    if kind == 'MAE':
        config = {k: config[k] for k in ('backbone', 'neck', 'aggregator')}
        config |= dict(type='MAE', reconstruction=loss)
    model, backbone = pretrained(config), backbone_of()
    path = save(tmp_path / 'a.pth', model.state_dict())
    load_backbone(backbone, path, branch='teacher')
    assert_equal(backbone.state_dict(), model.pixel_loss.backbone.state_dict())
    load_backbone(backbone, path)
    assert_equal(backbone.state_dict(), model.backbone.state_dict())


def test_backbone_of_mmpretrain_loads(tmp_path, source):
    path = save(tmp_path / 'a.pth', source.backbone.state_dict(), key=None)
    backbone = backbone_of()
    load_backbone(backbone, path)
    assert_equal(backbone.state_dict(), source.backbone.state_dict())


def test_official_checkpoint_loads_only_after_conversion(tmp_path, source):
    ours = save(tmp_path / 'ours.pth', source.state_dict())
    convert_checkpoint(ours, tmp_path / 'mae.pth', source_format='vicmae', target_format='mae')
    convert_checkpoint(
        tmp_path / 'mae.pth', tmp_path / 'back.pth', source_format='mae', target_format='vicmae'
    )
    backbone = backbone_of()
    with pytest.raises(CheckpointError, match='convert.py --from mae --to vicmae'):
        load_backbone(backbone, str(tmp_path / 'mae.pth'))
    load_backbone(backbone, str(tmp_path / 'back.pth'))
    assert_equal(backbone.state_dict(), source.backbone.state_dict())


def test_unused_keys_of_the_backbone_are_reported(tmp_path, source, capsys):
    backbone = backbone_of(final_norm=False)
    MMLogger.get_instance('fit_backbone')  # one that writes to where `capsys` looks
    path = save(tmp_path / 'a.pth', {**source.backbone.state_dict(), 'head.bias': torch.zeros(2)})
    load_backbone(backbone, path)
    assert (
        f'Weights of {path!r} (student): {len(backbone.state_dict())} mapped, 0 resized, 0 of another shape, '
        '3 unused (ln1.weight, ln1.bias, head.bias), 0 missing.'
    ) in capsys.readouterr().out


def test_position_embeddings_are_resized_to_another_image_size(tmp_path, source):
    backbone = backbone_of(img_size=32)
    with pytest.warns(UserWarning, match='from 4x4 to 8x8'):
        load_backbone(backbone, save(tmp_path / 'a.pth', source.state_dict()))
    assert backbone.pos_embed.shape == (1, 65, 16)
    # The corners of a bicubic interpolation stay near those of the table.
    assert backbone.pos_embed[0, 0].equal(source.backbone.pos_embed[0, 0])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(arch=dict(embed_dims=32, num_layers=2)),
            'has width 16, that of the config has width 32',
        ),
        (
            dict(arch=dict(embed_dims=16, num_layers=3)),
            'has depth 2, that of the config has depth 3',
        ),
        (dict(patch_size=8), 'has patch 4x4, that of the config has patch 8x8'),
    ],
    ids=['width', 'depth', 'patch'],
)
def test_backbone_of_another_size_is_refused_with_the_difference(
    tmp_path, source, changes, message
):
    if 'arch' in changes:
        changes = copy.deepcopy(changes)
        changes['arch'].update(num_heads=2, feedforward_channels=32)
    backbone = backbone_of(**changes)
    before = copy.deepcopy(backbone.state_dict())
    with pytest.raises(CheckpointError, match=message):
        load_backbone(backbone, save(tmp_path / 'a.pth', source.state_dict()))
    assert_equal(backbone.state_dict(), before)


def test_missing_and_reshaped_tensors_are_named(tmp_path, source):
    state = source.state_dict()
    del state['backbone.cls_token']
    state['backbone.layers.0.ffn.layers.0.0.weight'] = torch.zeros(48, 16)
    with pytest.raises(
        CheckpointError,
        match=r'1 missing from the checkpoint: cls_token\n(.*\n)?  1 of another shape: layers.0',
    ):
        load_backbone(backbone_of(), save(tmp_path / 'a.pth', state))


def test_teacher_of_a_run_without_one_is_refused(tmp_path):
    path = save(tmp_path / 'a.pth', MODELS.build(toy_vicmae_config()).state_dict())
    with pytest.raises(CheckpointError, match='no EMA teacher'):
        load_backbone(backbone_of(), path, branch='teacher')


def test_file_without_a_backbone_is_refused_with_its_keys(tmp_path):
    with pytest.raises(
        CheckpointError, match='no backbone in .* first keys are: fc.weight.*--from FORMAT'
    ):
        load_backbone(backbone_of(), save(tmp_path / 'a.pth', {'fc.weight': torch.zeros(2)}))
