# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each protocol on images by its one command, from a checkpoint of pretraining."""

import csv
import re

import pytest

from .conftest import ROOT, figures

CONFIGS = ROOT / 'configs/vicmae/benchmarks'


@pytest.mark.parametrize('protocol', ['finetune', 'linear', 'attentive'])
def test_protocol_trains_on_pretrained_weights_and_tests_what_it_validated(
    run_tool, trained, tmp_path, protocol
):
    config = CONFIGS / f'vicmae_vit-tiny-p8_{protocol}_debug.py'
    pretrained = f'model.pretrained={trained}/iter_16.pth'
    run = tmp_path / 'run'
    ended = run_tool(
        'train.py', config, '--work-dir', run, '--cfg-options', pretrained, 'train_cfg.max_epochs=2'
    )
    assert ended.status == 0, ended.err
    assert re.search(r'takes (28|30) tensors from .*iter_16.pth', ended.out)
    (validated,) = re.findall(r'accuracy/top1: ([\d.]+)', ended.out)
    out = tmp_path / 'figures.json'
    ended = run_tool(
        'test.py', config, run / 'epoch_2.pth', '--work-dir', tmp_path / 'test', '--out', out
    )
    assert ended.status == 0, ended.err
    found = figures(out)
    assert found['accuracy/top1'] == float(validated)
    rows = list(csv.reader((tmp_path / 'test/confusion_matrix.csv').open()))
    counts = [[int(value) for value in row[1:]] for row in rows[1:]]
    assert [sum(row) for row in counts] == [4, 4, 4, 4]
    right = sum(counts[i][i] for i in range(4))
    assert found['accuracy/top1'] == found['accuracy/mean_class'] == 100 * right / 16


def test_weights_of_another_size_end_in_one_line(run_tool, trained, tmp_path):
    ended = run_tool(
        'train.py',
        CONFIGS / 'vicmae_vit-tiny-p8_linear_debug.py',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'model.pretrained={trained}/iter_16.pth',
        'model.backbone.patch_size=16',
    )
    assert ended.status == 1
    assert ended.err.startswith('error: The backbone in ')
    assert 'has patch 8x8, that of the config patch 16x16' in ended.err
    assert ended.err.count('\n') == 1
