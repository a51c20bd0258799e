# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Parts swapped from the command line, in whole runs."""

import re

import pytest
import torch
from PIL import Image

from .conftest import DEBUG, ROOT

SHORT = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.samples_per_epoch=16']
LAST = 'iter_2.pth'  # of them
# Without the joint model, which has tests of its own.
OTHERS = [
    path
    for path in sorted(ROOT.glob('configs/*/*_debug.py'))
    if path != DEBUG and path.parent.name != 'supervised_joint'
]


def train(run_tool, work_dir, *options, config=DEBUG):
    return run_tool(
        'train.py',
        config,
        '--work-dir',
        work_dir,
        '--no-validate',
        '--cfg-options',
        *SHORT,
        *options,
    )


def names_in(work_dir):
    state = torch.load(work_dir / LAST, weights_only=True)['state_dict']
    return {'.'.join(name.split('.')[:2]) for name in state}


@pytest.mark.slow
def test_teacher_and_vicreg_are_two_options(run_tool, tmp_path):
    options = ['model.target.type=EMATarget', 'model.head.contrastive.type=VICRegLoss']
    ended = train(run_tool, tmp_path, *options)
    assert ended.status == 0, ended.err
    assert {'target.backbone', 'target.embedder'} <= names_in(tmp_path)
    assert 'target_momentum: 0.99' in ended.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'loss'), [('vicmae', 'model.head.contrastive'), ('simclr', 'model.contrastive')]
)
def test_sigreg_is_one_option(run_tool, tmp_path, name, loss):
    config = ROOT / f'configs/{name}/{name}_vit-tiny-p8_debug.py'
    ended = train(run_tool, tmp_path, f'{loss}.type=SIGRegLoss', config=config)
    assert ended.status == 0, ended.err
    assert re.search(r'loss_contrastive: 0\.\d+', ended.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('option', 'gone'),
    [('model.head.contrastive=None', 'predictor'), ('model.head.reconstruction=None', 'neck')],
)
def test_each_loss_is_disabled_by_one_option(run_tool, tmp_path, option, gone):
    ended = train(run_tool, tmp_path, option)
    assert ended.status == 0, ended.err
    assert not any(name.startswith(gone) for name in names_in(tmp_path))


@pytest.mark.slow
def test_contrastive_cache_is_enabled_by_options(run_tool, tmp_path):
    cache = 'model.contrastive_cache'
    ended = train(run_tool, tmp_path, f'{cache}.type=ContrastiveCache', f'{cache}.num_parts=4')
    assert ended.status == 0, ended.err


@pytest.mark.slow
@pytest.mark.parametrize('config', OTHERS, ids=lambda path: path.stem)
def test_other_methods_train_and_are_evaluated(run_tool, tmp_path, config):
    trained = train(run_tool, tmp_path, config=config)
    assert trained.status == 0, trained.err
    ended = run_tool('test.py', config, tmp_path / LAST, '--work-dir', tmp_path)
    assert ended.status == 0, ended.err
    assert re.search(r'/(knn_)?top1 .* \d+\.\d', ended.out)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('model.backbone.masking.mask_ratio=75', r'must be in \[0, 1\), got 75. Give a fraction'),
        ('model.head.contrastive.temperature=0', '`temperature` must be positive, got 0'),
        ('custom_hooks.0.begin=3', '0 <= `begin` < `end`, got begin 3 and end 0.5'),
        ('default_hooks.target_ema.end_momentum=2', r'`end_momentum` is the share .* got 2'),
        ('model.backbone.img_size=60', '`patch_size` 8 must divide `img_size`, got 60x60'),
        ('model.predictor.out_dim=16', 'Predictions have width 16, targets 32'),
    ],
)
def test_invalid_values_end_in_one_line_before_training(run_tool, tmp_path, option, message):
    ended = train(run_tool, tmp_path, option)
    assert ended.status == 1
    assert re.search(message, ended.err), ended.err
    assert ended.err.startswith('error: ') and ended.err.count('\n') == 1
    assert not list(tmp_path.glob('*.pth'))


def test_teacher_without_its_hook_ends_in_one_line(run_tool, tmp_path):
    options = ['model.target.type=EMATarget', 'default_hooks.target_ema=None']
    ended = train(run_tool, tmp_path, *options)
    assert ended.status == 1
    assert 'EMATarget, which does nothing without the hook TargetEMAHook: add' in ended.err


def test_frame_gap_longer_than_any_video_ends_in_one_line(run_tool, tmp_path):
    pipeline = 'train_dataloader.dataset.sources.videos.pipeline.1'
    ended = train(run_tool, tmp_path, f'{pipeline}.type=FixedGapFramePair', f'{pipeline}.gap=500')
    assert ended.status == 1
    assert re.search(r'gap=500.* is longer than any video: .* Lower `gap`', ended.err), ended.err


@pytest.mark.slow
def test_training_starts_from_a_converted_mae(run_tool, tmp_path):
    mae = ROOT / 'configs/mae/mae_vit-tiny-p8_debug.py'
    assert train(run_tool, tmp_path / 'mae', config=mae).status == 0
    first, second = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    convert = 'model_converters/convert.py'
    there = run_tool(convert, '--from', 'vicmae', '--to', 'mae', tmp_path / 'mae' / LAST, first)
    back = run_tool(convert, '--from', 'mae', '--to', 'vicmae', first, second)
    assert (there.status, back.status) == (0, 0), back.err
    refused = train(run_tool, tmp_path / 'strict', f'load_from={second}')
    assert 'missing from the checkpoint: predictor.0.weight' in refused.err
    options = [f'load_from={second}', 'default_hooks.checkpoint_fit.strict=False']
    ended = train(run_tool, tmp_path / 'vicmae', *options)
    assert ended.status == 0, ended.err
    assert re.search(
        r'Weights of .*: \d+ mapped, .* [1-9]\d* missing \(predictor', ended.out + ended.err
    )


@pytest.mark.slow
def test_show_reconstructs_mae_at_any_shape_and_refuses_simclr(run_tool, tmp_path, demo_data):
    picture = next((demo_data / 'images/val').rglob('*.jpg'))
    for name in ('mae', 'simclr'):
        config = ROOT / f'configs/{name}/{name}_vit-tiny-p8_debug.py'
        assert train(run_tool, tmp_path / name, config=config).status == 0
        command = ['../vicmae/__main__.py', 'show', tmp_path / name / LAST, picture]
        options = [
            '--config',
            config,
            '--what',
            'reconstruction',
            '--out',
            tmp_path / f'{name}-out',
        ]
        shape = ['--cfg-options', 'model.backbone.img_size=48,96']
        ended = run_tool(*command, *options, *shape)
        if name == 'mae':
            assert ended.status == 0, ended.err
            (drawn,) = (tmp_path / 'mae-out').glob('*.png')
            assert Image.open(drawn).size == (3 * 384 + 2 * 8, 24 + 192)
        else:
            assert ended.status == 1
            assert 'This SimCLR has no `neck`' in ended.err
            assert 'Traceback' not in ended.err


def test_checkpoint_without_matching_keys_is_refused_without_strict(run_tool, tmp_path):
    torch.save(dict(model={'blocks.0.norm1.weight': torch.ones(8)}), tmp_path / 'official.pth')
    options = [f'load_from={tmp_path}/official.pth', 'default_hooks.checkpoint_fit.strict=False']
    ended = train(run_tool, tmp_path, *options)
    assert ended.status == 1
    assert 'does not fit the model: only 0 of ' in ended.err
    assert 'Convert it first: python tools/model_converters/convert.py --from mae' in ended.err
