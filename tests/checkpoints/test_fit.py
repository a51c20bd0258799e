# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from vicmae.checkpoints.fit import fit_weights, load_weights
from vicmae.errors import CheckpointError
from vicmae.registry import MODELS
from vicmae.testing import ToyModel, toy_runner, toy_vicmae_config


def save(path, state):
    torch.save({'state_dict': state, 'meta': {}}, path)
    return str(path)


def load(tmp_path, state, **hook_cfg):
    """Loads a checkpoint through the Runner; returns its model."""
    runner = toy_runner(
        tmp_path / 'run',
        hooks=[dict(type='CheckpointFitHook', **hook_cfg)],
        load_from=save(tmp_path / 'weights.pth', state),
    )
    runner.load_or_resume()
    return runner.model


def test_model_finds_no_misfit_in_its_own_weights():
    model = MODELS.build(toy_vicmae_config())
    assert fit_weights(model, model.state_dict())[1].misfits() == []


def test_missing_unknown_and_reshaped_keys_are_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = model.state_dict()
    state['2.weight'] = state.pop('1.bias')
    state['0.weight'] = torch.zeros(3, 4)
    assert fit_weights(model, state)[1].misfits() == [
        '  1 missing from the checkpoint: 1.bias',
        '  1 unknown to the model: 2.weight',
        '  1 of another shape: 0.weight (3, 4) instead of (3, 2)',
    ]


def test_many_keys_are_counted_and_some_named():
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    (line,) = fit_weights(model, {})[1].misfits()
    assert line == (
        '  10 missing from the checkpoint: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight, 2.bias '
        'and 4 more'
    )


def test_position_embeddings_of_another_resolution_fit_since_they_are_resized():
    config = toy_vicmae_config()
    state = MODELS.build(config).backbone.state_dict()
    config['backbone']['img_size'] = 24
    model = nn.ModuleDict({'backbone': MODELS.build(config).backbone})
    state = {f'backbone.{name}': value for name, value in state.items()}
    assert state['backbone.pos_embed'].shape != model['backbone'].pos_embed.shape
    assert fit_weights(model, state)[1].misfits() == []
    load_weights(model, state, source='a.pth')


def toy_backbone(**kwargs):
    """In a model, as a checkpoint has it."""
    backbone = MODELS.build({**toy_vicmae_config()['backbone'], **kwargs})
    return nn.ModuleDict({'backbone': backbone})


CLIP = dict(num_frames=4, tubelet_size=2)


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint'])
@pytest.mark.parametrize(
    ('theirs', 'own'),
    [
        ({}, CLIP),
        (CLIP, {}),
        (CLIP, dict(CLIP, num_frames=8)),
        (CLIP, dict(CLIP, tubelet_size=4)),
        (CLIP, dict(CLIP, img_size=24)),
    ],
    ids=['image to clip', 'clip to image', 'longer', 'other tubelets', 'larger'],
)
def test_positions_fitted_along_time_count_as_fitting(theirs, own, pos_embed_type):
    state = toy_backbone(**theirs, pos_embed_type=pos_embed_type).state_dict()
    before = dict(state)
    model = toy_backbone(**own, pos_embed_type=pos_embed_type)
    assert fit_weights(model, state)[1].misfits() == []
    assert state.keys() == before.keys() and all(state[k] is before[k] for k in state)
    load_weights(model, state, source='a.pth')


def test_misfits_of_an_image_checkpoint_for_clips_are_named():
    state = toy_backbone().state_dict()
    width = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=32)
    lines = fit_weights(toy_backbone(**CLIP, arch=width), state)[1].misfits()
    assert len(lines) == 1
    assert 'backbone.pos_embed (1, 17, 16) instead of (1, 17, 24)' in lines[0]
    lines = fit_weights(toy_backbone(**CLIP, patch_size=8), state)[1].misfits()
    assert lines == [
        '  1 of another shape: backbone.patch_embed.projection.weight '
        '(16, 3, 2, 4, 4) instead of (16, 3, 2, 8, 8)'
    ]
    lacking = toy_backbone(**CLIP).state_dict()
    del lacking['backbone.temporal_pos_embed']
    (line,) = fit_weights(toy_backbone(**CLIP), lacking)[1].misfits()
    assert line == '  1 missing from the checkpoint: backbone.temporal_pos_embed'


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_run_loads_a_checkpoint_that_fits(tmp_path, prefix):
    weights = {name: torch.full_like(v, 7.0) for name, v in ToyModel().state_dict().items()}
    model = load(tmp_path, {prefix + name: value for name, value in weights.items()})
    assert model.linear.weight.eq(7).all()


def test_run_refuses_a_checkpoint_that_does_not_fit_and_loads_nothing(tmp_path):
    state = {'linear.weight': torch.full((1, 2), 7.0), 'encoder.weight': torch.zeros(2)}
    with pytest.raises(CheckpointError, match='does not fit the model') as caught:
        load(tmp_path, state)
    message = str(caught.value)
    assert '1 missing from the checkpoint: linear.bias' in message
    assert '1 unknown to the model: encoder.weight' in message
    assert 'load what fits: `default_hooks.checkpoint_fit.strict=False`' in message
    assert 'convert.py' not in message  # some of it fits


def test_run_without_strict_loads_what_fits(tmp_path):
    state = {'linear.weight': torch.full((1, 2), 7.0), 'encoder.weight': torch.zeros(2)}
    assert load(tmp_path, state, strict=False).linear.weight.eq(7).all()
