# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One run on labelled images and videos, from its config to what is made of its checkpoint."""

import csv
import random
import re
import signal

import pytest

from .conftest import ROOT, figures
from .test_survival import assert_same_end, last_checkpoint

pytestmark = pytest.mark.slow

JOINT = ROOT / 'configs/supervised_joint/supervised-joint_vit-tiny-p8_debug.py'
BENCHMARKS = ROOT / 'configs/vicmae/benchmarks'
BATCHES = {
    'mixed': [],
    'of one source': ['train_dataloader.batch_sampler.type=OneSourceBatches'],
}


@pytest.fixture(scope='module')
def joint_run(run_tool, tmp_path_factory):
    """The work directory and the log of a whole run."""
    work_dir = tmp_path_factory.mktemp('joint')
    ended = run_tool('train.py', JOINT, '--work-dir', work_dir)
    assert ended.status == 0, ended.err
    return work_dir, ended.out


@pytest.mark.parametrize('batches', BATCHES)
def test_run_that_is_killed_ends_as_one_without_a_break(run_tool, tmp_path, batches):
    options = ['--cfg-options', *BATCHES[batches]]
    options += ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=3']
    ended = run_tool('train.py', JOINT, '--work-dir', tmp_path / 'whole', *options)
    assert ended.status == 0, ended.err
    assert 'loss_images' in ended.out
    assert 'loss_videos' in ended.out
    rng, kills = random.Random(batches), 0
    for kill_after in (*(rng.uniform(2, 8) for _ in range(3)), None):
        command = ['train.py', JOINT, '--work-dir', tmp_path / 'run', '--resume', *options]
        ended = run_tool(*command, kill_after=kill_after)
        kills += ended.status == -signal.SIGKILL
        assert ended.status in (0, -signal.SIGKILL), ended.err
    assert kills
    assert_same_end(last_checkpoint(tmp_path / 'whole'), last_checkpoint(tmp_path / 'run'))


def test_checkpoint_is_tested_head_by_head(run_tool, joint_run, tmp_path):
    work_dir, log = joint_run
    out = tmp_path / 'figures.json'
    ended = run_tool(
        'test.py', JOINT, work_dir / 'epoch_2.pth', '--work-dir', tmp_path, '--out', out
    )
    assert ended.status == 0, ended.err
    found = figures(out)
    # Videos have one view in validation, and six in tests.
    (validated,) = re.findall(r'accuracy/images/top1: ([\d.]+)', log)
    assert found['accuracy/images/top1'] == float(validated)
    for name, size in (('images', 16), ('videos', 8)):
        rows = list(csv.DictReader((tmp_path / f'predictions_{name}.csv').open()))
        assert len(rows) == size
        right = sum(row['true class'] == row['predicted'] for row in rows)
        assert found[f'accuracy/{name}/top1'] == 100 * right / size
    both = [found[f'accuracy/{name}/top1'] for name in ('images', 'videos')]
    assert found['accuracy/mean/top1'] == sum(both) / 2


def test_backbone_of_its_checkpoint_is_probed_and_fine_tuned(run_tool, joint_run, tmp_path):
    checkpoint = joint_run[0] / 'epoch_2.pth'
    config = BENCHMARKS / 'vicmae_vit-tiny-p8_probes_debug.py'
    ended = run_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'probes')
    assert ended.status == 0, ended.err
    assert 'images/' in ended.out
    assert 'videos/' in ended.out
    for config in (BENCHMARKS / 'vicmae_vit-tiny-p8_finetune-video_debug.py', JOINT):
        pretrained = ['--cfg-options', f'model.pretrained={checkpoint}', 'train_cfg.max_epochs=1']
        ended = run_tool('train.py', config, '--work-dir', tmp_path / config.stem, *pretrained)
        assert ended.status == 0, ended.err
        assert re.search(r"epoch_2.pth' \(student\): \d+ mapped, .* 0 missing", ended.out)
