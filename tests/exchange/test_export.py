# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""An export is opened by the library that it is for, and has the features and all tensors of the model."""

import json

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from vicmae.apis import load_model
from vicmae.cli.export import TARGETS as TARGETS_OF_COMMAND
from vicmae.cli.main import main
from vicmae.errors import CheckpointError, ConfigError
from vicmae.exchange import TARGETS, export_model, verify_export
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config, toy_video_mae_config


def make_model(clips=False, **changes):
    config = toy_video_mae_config() if clips else toy_vicmae_config()
    for name, change in changes.items():
        config[name] = {**config[name], **change}
    cfg = Config(dict(model=config))
    return randomize(MODELS.build(cfg.model)).eval(), cfg


def export(tmp_path, target, *, clips=False, dtype='float32', **changes):
    model, cfg = make_model(clips, **changes)
    export_model(model, cfg, target, tmp_path / 'out', dtype=dtype)
    return tmp_path / 'out'


FAST = ['timm', 'hf-vit', 'safetensors']
ALL = [
    *((name, clips) for name in FAST[:2] for clips in (False,)),
    ('safetensors', False),
    ('safetensors', True),
    *(
        pytest.param(name, clips, marks=pytest.mark.slow)
        for name, clips in [
            ('hf-vitmae', False),
            ('hf-videomae', True),
            ('mmpretrain', False),
            ('vicmae-official', False),
            ('onnx', False),
            ('onnx', True),
            ('torch-export', False),
            ('torch-export', True),
        ]
    ),
]


@pytest.mark.parametrize(('target', 'clips'), ALL)
def test_library_opens_the_export_with_all_tensors_and_equal_features(tmp_path, target, clips):
    findings = verify_export(export(tmp_path, target, clips=clips))
    assert all(finding.ok for finding in findings), findings
    assert sum('features in batches of' in finding.text for finding in findings) == 2


@pytest.mark.parametrize('target', ['timm', 'hf-vit'])
def test_half_precision_keeps_features_within_a_thousandth(tmp_path, target):
    out = export(tmp_path, target, dtype='float16')
    assert all(finding.ok for finding in verify_export(out))
    assert load_file(out / 'model.safetensors').popitem()[1].dtype == torch.float16


def change_tensors(out, change):
    weights = load_file(out / 'model.safetensors')
    change(weights)
    save_file(weights, out / 'model.safetensors', metadata={'format': 'pt'})


@pytest.mark.parametrize('target', ['timm', 'hf-vit'])
def test_planted_zero_bias_is_found(tmp_path, target):
    out = export(tmp_path, target)
    name = next(
        k
        for k in load_file(out / 'model.safetensors')
        if k.endswith(('attn.proj.bias', 'attention.output.dense.bias'))
    )
    change_tensors(out, lambda weights: weights[name].zero_())
    texts = [finding.text for finding in verify_export(out) if not finding.ok]
    assert f'{name} was exported, but the library does not have it' in texts
    assert any('is zero: the library has not loaded it' in text for text in texts)


def test_tensor_that_is_missing_from_the_file_is_found(tmp_path):
    out = export(tmp_path, 'hf-vit')
    name = 'encoder.layer.0.attention.attention.query.weight'
    change_tensors(out, lambda weights: weights.pop(name))
    texts = [finding.text for finding in verify_export(out) if not finding.ok]
    assert f'{name} was exported, but the library does not have it' in texts
    assert any('has its initial values' in text for text in texts)
    assert any('features in batches of 1 differ by' in text for text in texts)


def test_every_tensor_of_the_encoder_is_exported_or_left_out_with_a_reason(tmp_path):
    for target, clips in (('timm', False), ('hf-vit', False), ('hf-videomae', True)):
        model, cfg = make_model(clips)
        manifest = export_model(model, cfg, target, tmp_path / target)
        sources = {s for entry in manifest['tensors'].values() for s in entry['sources']}
        named = {k for k in model.state_dict() if k.startswith('backbone.')}
        assert named <= sources | set(manifest['omitted'])


@pytest.mark.parametrize(
    ('target', 'clips', 'changes', 'reason'),
    [
        ('timm', True, {}, 'it encodes clips, and this is a format of models of images'),
        ('timm', False, dict(aggregator=dict(type='GeMPooling')), 'it pools by GeMPooling'),
        ('hf-vit', False, dict(backbone=dict(with_cls_token=False)), 'it has no class token'),
        ('hf-vitmae', True, {}, 'it encodes clips'),
        ('hf-videomae', False, {}, 'it encodes images'),
        (
            'hf-videomae',
            True,
            dict(backbone=dict(pos_embed_type='separable')),
            'its position embeddings are `separable`, and VideoMAE computes a sinusoid',
        ),
        ('hf-vit', False, dict(backbone=dict(img_size=(16, 32))), '16 x 32 pixels'),
        ('timm', False, dict(backbone=dict(final_norm=False)), 'no norm after the last layer'),
    ],
)
def test_what_a_target_cannot_represent_is_refused_with_the_reason(
    tmp_path, target, clips, changes, reason
):
    with pytest.raises(ConfigError, match=reason):
        export(tmp_path, target, clips=clips, **changes)
    assert not list(tmp_path.iterdir())


def test_decoder_is_refused_where_there_is_none(tmp_path):
    head = dict(type='ViCMAEHead', contrastive=dict(type='InfoNCELoss'), reconstruction=None)
    with pytest.raises(ConfigError, match='it has no decoder: use hf-vit'):
        export(tmp_path, 'hf-vitmae', head=head)


def test_folder_with_files_is_not_replaced_unless_forced_and_never_if_it_is_no_export(tmp_path):
    out = export(tmp_path, 'timm')
    model, cfg = make_model()
    with pytest.raises(ConfigError, match='is not empty. Choose another folder, or .* --force'):
        export_model(model, cfg, 'timm', out)
    export_model(model, cfg, 'hf-vit', out, force=True)
    assert json.loads((out / 'export.json').read_text())['target'] == 'hf-vit'
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/one.jpg').touch()
    with pytest.raises(ConfigError, match='has other files than an export'):
        export_model(model, cfg, 'timm', tmp_path / 'photos', force=True)
    with pytest.raises(ConfigError, match='is a file'):
        export_model(model, cfg, 'timm', tmp_path / 'photos/one.jpg')


def test_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(TARGETS['timm']), 'write', fail)
    with pytest.raises(CheckpointError, match='No space left on device. Free some space'):
        export(tmp_path, 'timm')
    assert not list(tmp_path.iterdir())


def test_unknown_targets_types_and_folders_are_named(tmp_path):
    with pytest.raises(ConfigError, match="Unknown target 'jax'. Use one of: timm, hf-vit"):
        export(tmp_path, 'jax')
    with pytest.raises(ConfigError, match="`dtype` must be one of float32.*'int8'"):
        export(tmp_path, 'timm', dtype='int8')
    with pytest.raises(ConfigError, match="stores a graph in float32, got `dtype` 'float16'"):
        export(tmp_path, 'torch-export', dtype='float16')
    with pytest.raises(CheckpointError, match='is no export: it has no export.json'):
        verify_export(tmp_path)


def test_card_shows_code_that_gives_the_features(tmp_path, monkeypatch):
    for target in FAST[:2]:
        model, cfg = make_model()
        out = tmp_path / target
        export_model(model, cfg, target, out, licence='CC-BY-4.0')
        card = (out / 'README.md').read_text()
        assert card.endswith('## Licence\n\nCC-BY-4.0\n')
        code = card.split('```python\n')[1].split('```')[0]
        scope = {}
        exec(code, scope)
        expected = model.extract_feat(torch.zeros(1, 3, 16, 16))
        torch.testing.assert_close(scope['features'], expected, atol=1e-5, rtol=1e-5)


def test_commands_export_and_compare(tmp_path, capsys):
    config = 'vicmae_vit-tiny-p8_debug'
    model = load_model(config)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    out = str(tmp_path / 'out')
    command = ['export', str(tmp_path / 'weights.pth'), '--config', config, '--out', out]
    main([*command, '--to', 'timm', '--image-size', '48'])
    assert f'{out}: for timm, ' in capsys.readouterr().out
    main(['verify-export', out])
    assert 'tensors are those that were exported' in capsys.readouterr().out
    name = 'blocks.0.attn.proj.weight'
    change_tensors(tmp_path / 'out', lambda weights: weights[name].zero_())
    with pytest.raises(SystemExit) as ended:
        main(['verify-export', out])
    assert ended.value.code == 1
    assert f'BAD  {name} was exported' in capsys.readouterr().out


def test_config_of_the_checkpoint_is_taken_where_none_is_named(tmp_path):
    model, cfg = make_model()
    checkpoint = tmp_path / 'iter_1.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), checkpoint)
    command = ['export', str(checkpoint), '--to', 'timm', '--image-size', '24', '--out']
    main([*command, str(tmp_path / 'out')])
    assert all(finding.ok for finding in verify_export(tmp_path / 'out'))
    assert '24 x 24 pixels' in (tmp_path / 'out/README.md').read_text()


def test_card_has_the_figures_that_the_run_logged_at_the_step_of_the_checkpoint(tmp_path):
    model, cfg = make_model()
    log = tmp_path / '20261201/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    rows = [
        dict(loss=1.0, iter=8, step=8),
        {'images/knn_top1': 31.25, 'data_time': 0.1, 'step': 8},
        {'images/knn_top1': 50.0, 'step': 16},
    ]
    log.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    checkpoint = tmp_path / 'iter_8.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    export_model(model, cfg, 'safetensors', tmp_path / 'out', checkpoint=checkpoint)
    assert '- Figures: images/knn_top1 31.2\n' in (tmp_path / 'out/README.md').read_text()


def test_command_offers_all_targets():
    assert list(TARGETS) == TARGETS_OF_COMMAND
