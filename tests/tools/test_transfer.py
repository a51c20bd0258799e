# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each protocol by its one command, from a checkpoint of pretraining."""

import csv
import re

import pytest
import torch

from vicmae.apis import load_config
from vicmae.registry import MODELS

from .conftest import ROOT, figures

CONFIGS = ROOT / 'configs/vicmae/benchmarks'


@pytest.mark.slow
@pytest.mark.parametrize('protocol', ['finetune', 'linear', 'attentive'])
def test_protocol_trains_pretrained_weights_and_reproduces_its_validation(
    run_tool, trained, tmp_path, protocol
):
    config = CONFIGS / f'vicmae_vit-tiny-p8_{protocol}_debug.py'
    pretrained = f'model.pretrained={trained}/iter_16.pth'
    run = tmp_path / 'run'
    ended = run_tool(
        'train.py', config, '--work-dir', run, '--cfg-options', pretrained, 'train_cfg.max_epochs=2'
    )
    assert ended.status == 0, ended.err
    assert re.search(r"iter_16.pth' \(student\): (28|30) mapped", ended.out)
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


@pytest.mark.slow
@pytest.mark.parametrize('protocol', ['finetune', 'linear', 'attentive'])
def test_protocol_on_videos_trains_and_tests_several_views_of_each(
    run_tool, trained, tmp_path, protocol
):
    config = CONFIGS / f'vicmae_vit-tiny-p8_{protocol}-video_debug.py'
    pretrained = f'model.pretrained={trained}/iter_16.pth'
    run = tmp_path / 'run'
    ended = run_tool(
        'train.py', config, '--work-dir', run, '--cfg-options', pretrained, 'train_cfg.max_epochs=2'
    )
    assert ended.status == 0, ended.err
    assert re.search(r"iter_16.pth' \(student\): (29|30) mapped", ended.out)
    out = tmp_path / 'figures.json'
    ended = run_tool(
        'test.py', config, run / 'epoch_2.pth', '--work-dir', tmp_path / 'test', '--out', out
    )
    assert ended.status == 0, ended.err
    rows = list(csv.DictReader((tmp_path / 'test/predictions.csv').open()))
    assert len({row['path'] for row in rows}) == len(rows) == 8
    assert [name for name in rows[0] if name.startswith('view')] == [
        f'view {number}'
        for number in range(1, 7)  # 2 clips x 3 crops
    ]
    right = sum(row['true class'] == row['predicted'] for row in rows)
    assert figures(out)['accuracy/top1'] == 100 * right / 8


@pytest.mark.slow
def test_probes_of_frozen_features_compute_them_once(run_tool, trained, tmp_path):
    config = CONFIGS / 'vicmae_vit-tiny-p8_probes_debug.py'
    command = ['test.py', config, f'{trained}/iter_16.pth', '--work-dir', tmp_path]
    cache = ['--cfg-options', f'test_cfg.cache_dir={tmp_path}/features']
    found = []
    for name in ('first', 'second'):
        out = tmp_path / f'{name}.json'
        ended = run_tool(*command, '--out', out, *cache)
        assert ended.status == 0, ended.err
        found.append(figures(out))
    assert 'weights, data and protocol are those of' in ended.out
    assert found[0] == found[1]
    for kind in ('images', 'videos'):
        names = ('knn10_top1', 'knn200_top1', 'linear_top1', 'logistic_top1', 'chance')
        assert {f'{kind}/{name}' for name in names} <= found[0].keys()


@pytest.mark.slow
@pytest.mark.parametrize('method', ['mae', 'simclr'])
def test_probes_load_the_backbone_of_any_pretraining(run_tool, tmp_path, method):
    model = MODELS.build(
        load_config(ROOT / f'configs/{method}/{method}_vit-tiny-p8_debug.py').model
    )
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'pretrained.pth')
    config = CONFIGS / 'vicmae_vit-tiny-p8_probes_debug.py'
    options = ['--cfg-options', f'test_cfg.cache_dir={tmp_path}/features']
    command = ['test.py', config, tmp_path / 'pretrained.pth', '--work-dir', tmp_path]
    ended = run_tool(*command, '--out', tmp_path / 'figures.json', *options)
    assert ended.status == 0, ended.err
    assert 0 <= figures(tmp_path / 'figures.json')['images/knn10_top1'] <= 100
    ended = run_tool(*command, *options, 'model.backbone.patch_size=16')
    assert ended.status == 1
    assert 'has patch 8x8, that of the config has patch 16x16' in ended.err
    assert 'Traceback' not in ended.err


def test_training_of_a_config_that_only_tests_ends_in_one_line(run_tool, tmp_path):
    for name in (
        'vicmae_vit-tiny-p8_probes_debug.py',
        'vit-base-p16_vicmae-800e-pre_probes_k400.py',
    ):
        ended = run_tool('train.py', CONFIGS / name, '--work-dir', tmp_path, '--amp')
        assert ended.status == 1
        assert 'trains nothing: it has no `train_cfg`. `vicmae test CONFIG' in ended.err
        assert ended.err.count('\n') == 1


def test_backbone_of_another_size_is_refused_with_the_reason(run_tool, trained, tmp_path):
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
    assert ended.err.startswith(f"error: '{trained}/iter_16.pth' (student) does not fit the model")
    assert 'has patch 8x8, that of the config has patch 16x16' in ended.err
    assert 'Traceback' not in ended.err
