# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The configs of projects/miniature: rows that differ in one thing, and protocols that run on the real data."""

import csv
import json
import math

import pytest

from vicmae.apis import build_runner, load_config
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

PROJECT = project_file('projects/miniature')
ROWS = sorted((PROJECT / 'configs').glob('*.py'))
PROTOCOLS = sorted((PROJECT / 'configs/transfer').glob('*.py'))
DATA = project_file('.') / '../shared/data/real_mini'


@pytest.mark.parametrize('path', ROWS, ids=lambda path: path.stem)
def test_rows_differ_in_the_weights_of_their_losses_alone(path):
    base = load_config(PROJECT / 'configs/joint-0.03.py').to_dict()
    row = load_config(path).to_dict()
    head, other = base['model'].pop('head'), row['model'].pop('head')
    assert row == base
    assert head.keys() <= other.keys()
    model = MODELS.build(load_config(path).model)
    assert (model.head.reconstruction is None) == (path.stem == 'contrast')
    assert (model.head.contrastive is None) == (path.stem == 'mae')


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f'needs the real pictures and clips at {DATA}')
@pytest.mark.parametrize('path', PROTOCOLS, ids=lambda path: path.stem)
def test_protocol_trains_and_tests_on_real_data(path, tmp_path, monkeypatch):
    monkeypatch.setenv('REAL_MINI', str(DATA))
    cfg = load_config(path)
    cfg.train_dataloader.sampler.samples_per_epoch = 8
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.max_per_class = 1
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = None
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(tmp_path), 'none', tmp_path.name
    runner = build_runner(cfg, training=True)
    runner.train()
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(math.isfinite(row['loss']) for row in rows if 'loss' in row)
    assert 0 <= rows[-1]['accuracy/top1'] <= 100


COLUMNS = tuple(
    f'{probe}/{figure}_top1'
    for probe in ('images', 'skate', 'ut')
    for figure in ('knn10', 'logistic', 'linear')
)


def read_table(path):
    return list(csv.DictReader(path.read_text(encoding='utf-8').splitlines()))


def mean_of(lines, column):
    return f'{sum(float(line[column]) for line in lines) / len(lines):.1f}'


@pytest.mark.parametrize('size', ['small', 'large'])
def test_figures_in_the_readme_are_means_of_the_results(size):
    lines = read_table(PROJECT / size / 'results.csv')
    readme = (PROJECT / 'README.md').read_text(encoding='utf-8')
    for row in dict.fromkeys(line['row'] for line in lines):
        own = [line for line in lines if line['row'] == row]
        figures = ' | '.join(mean_of(own, column) for column in COLUMNS)
        assert f'| {row} | {figures} | {len(own)} |' in readme, figures
    chances = [lines[0][f'{probe}/chance'] for probe in ('images', 'skate', 'ut')]
    assert readme.count(f'| chance | {" | | | ".join(chances)} | | | |') == 2


@pytest.mark.parametrize('size', ['small', 'large'])
def test_figures_of_transfer_in_the_readme_are_those_of_the_table(size):
    lines = read_table(PROJECT / size / 'transfer.csv')
    readme = (PROJECT / 'README.md').read_text(encoding='utf-8')
    for protocol in dict.fromkeys(line['protocol'] for line in lines):
        own = [line for line in lines if line['protocol'] == protocol]
        random = [line for line in own if line['weights'] == 'random']
        joint = [line for line in own if line['weights'] == 'joint-0.03']
        assert [line['seed'] for line in random] == [line['seed'] for line in joint]
        figures = [
            mean_of(lines, column) for column in ('top1', 'mean_class') for lines in (random, joint)
        ]
        row = f'| {protocol} | {size} | {" | ".join(figures)} | {len(joint)} |'
        assert row in readme, row
        assert float(figures[1]) > float(figures[0])
        assert float(figures[3]) > float(figures[2])


def test_joint_is_ahead_of_mae_alone_and_pretrained_of_random_weights():
    lines = read_table(PROJECT / 'small/results.csv')
    assert all(sum(line['row'] == path.stem for line in lines) == 3 for path in ROWS)
    for column in COLUMNS:
        means = {
            row: float(mean_of([line for line in lines if line['row'] == row], column))
            for row in ('random', 'mae', 'joint-0.03')
        }
        assert means['joint-0.03'] >= means['random']
        behind = ('ut/knn10_top1', 'ut/linear_top1')  # by one clip of 36, as the README says
        assert (means['joint-0.03'] > means['mae']) == (column not in behind)
