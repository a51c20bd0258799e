# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One run on labelled images and videos, from its config to what is made of its checkpoint."""

import csv
import re

import pytest

from .conftest import ROOT, figures
from .test_survival import JOINT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / 'configs/vicmae/benchmarks'


@pytest.fixture(scope='module')
def joint_run(run_tool, tmp_path_factory):
    """The work directory and the log of a whole run."""
    work_dir = tmp_path_factory.mktemp('joint')
    ended = run_tool('train.py', JOINT, '--work-dir', work_dir)
    assert ended.status == 0, ended.err
    return work_dir, ended.out


def test_checkpoint_is_tested_head_by_head(run_tool, joint_run, tmp_path):
    work_dir, log = joint_run
    out = tmp_path / 'figures.json'
    ended = run_tool(
        'test.py', JOINT, work_dir / 'epoch_2.pth', '--work-dir', tmp_path, '--out', out
    )
    assert ended.status == 0, ended.err
    assert 'loss_images' in log
    assert 'loss_videos' in log
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
