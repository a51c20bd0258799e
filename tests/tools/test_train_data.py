# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Training on data with bad files, and resuming in the middle of an epoch, as a user does it."""

import json
import shutil

import pytest
import torch

from .conftest import DEBUG

SOURCES = 'train_dataloader.dataset.sources'


@pytest.fixture
def damaged(demo_data, tmp_path):
    """The training data, one picture and one video of it torn."""
    root = shutil.copytree(demo_data, tmp_path / 'damaged')
    torn = [
        sorted(root.glob('images/train/*/*.jpg'))[3],
        sorted(root.glob('videos/train/*/*.mp4'))[2],
    ]
    for path in torn:
        path.write_bytes(path.read_bytes()[:200])
    overrides = [f'{SOURCES}.{kind}.data_root={root}/{kind}/train' for kind in ('images', 'videos')]
    return {str(path) for path in torn}, overrides


def train(run_tool, work_dir, *options):
    return run_tool('train.py', DEBUG, '--no-validate', '--work-dir', work_dir, *options)


@pytest.mark.slow
def test_bad_files_are_replaced_listed_and_counted(run_tool, damaged, tmp_path):
    torn, overrides = damaged
    ended = train(run_tool, tmp_path / 'run', '--cfg-options', *overrides)
    assert ended.status == 0, ended.err
    lines = (tmp_path / 'run/bad_files.jsonl').read_text().splitlines()
    assert {json.loads(line)['file'] for line in lines} == torn
    assert {json.loads(line)['kind'] for line in lines} == {'image', 'video'}
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert 'could not be read: others took their place' in log.read_text()


@pytest.mark.slow
def test_too_many_bad_files_end_the_run_with_one_message(run_tool, damaged, tmp_path):
    _, overrides = damaged
    for path in sorted((tmp_path / 'damaged').glob('images/train/*/*.jpg'))[-8:]:
        path.write_bytes(b'')
    ended = train(run_tool, tmp_path / 'run', '--cfg-options', *overrides)
    assert ended.status == 1
    assert '`--cfg-options train_dataloader.max_bad_fraction=0.' in ended.err
    assert '`max_bad_fraction` 0.01' in ended.err and 'bad_files.jsonl' in ended.err
    assert 'Traceback' not in ended.err


@pytest.mark.slow
def test_run_resumed_in_mid_epoch_equals_one_without_a_break(run_tool, tmp_path):
    often = ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=1']
    options = ['--cfg-options', *often, 'default_hooks.checkpoint.max_keep_ckpts=-1']
    assert train(run_tool, tmp_path / 'whole', *options).status == 0
    found = sorted((tmp_path / 'whole').glob('iter_*.pth'), key=lambda p: p.stat().st_mtime)
    middle = found[len(found) // 2 - 3]
    ended = train(run_tool, tmp_path / 'part', '--resume', middle, *options)
    assert ended.status == 0, ended.err
    assert 'Resumed at epoch' in ended.out
    whole, part = (
        torch.load(tmp_path / name / found[-1].name, weights_only=False)['state_dict']
        for name in ('whole', 'part')
    )
    assert [key for key in whole if not torch.equal(whole[key], part[key])] == []


@pytest.mark.slow
def test_one_source_batches_are_a_config_option(run_tool, tmp_path):
    options = ['train_dataloader.batch_sampler.type=OneSourceBatches']
    ended = train(run_tool, tmp_path, '--cfg-options', *options)
    assert ended.status == 0, ended.err


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_dataloader.sample_seconds=0', '`sample_seconds` must be positive, got 0'),
        ('train_dataloader.max_bad_fraction=7', 'share of the samples in [0, 1], got 7'),
        ('train_dataloader.max_bad_fractions=0.1', 'max_bad_fraction'),
        (
            f'{SOURCES}.videos.visits_per_opening=0',
            '`visits_per_opening` must be at least 1, got 0',
        ),
    ],
)
def test_wrong_options_are_refused(run_tool, tmp_path, option, message):
    ended = train(run_tool, tmp_path, '--cfg-options', option)
    assert ended.status == 1
    assert message in ended.err
