# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
from importlib.metadata import distributions
from pathlib import Path

import pytest

from vicmae.apis import load_config
from vicmae.demo.knn import knn_metric
from vicmae.demo.results import describe_data, machine_facts, training_seconds

DEBUG = 'vicmae_vit-tiny-p8_debug'


def test_report_names_the_packages_that_are_there(tmp_path, monkeypatch):
    for package in distributions():
        if package.name in ('torch', 'av'):  # and no decord, which has no wheels for ARM
            (tmp_path / f'{package.name}-{package.version}.dist-info').symlink_to(package._path)
    monkeypatch.setattr('sys.path', [str(tmp_path)])
    names = [package.split()[0] for package in machine_facts()['Packages'].split(', ')]
    assert names == ['vicmae', 'torch', 'av']


def test_training_data_are_named_by_their_folders():
    cfg = load_config(DEBUG)
    assert describe_data(cfg) == 'the demo data'
    sources = cfg.train_dataloader.dataset.sources
    sources.images.data_root = str(Path('photos').absolute())  # shown as it is from here
    sources.videos.data_root, sources.videos.ann_file = '', 'lists/train.txt'
    assert describe_data(cfg) == 'photos and lists/train.txt'
    cfg.train_dataloader.dataset = dict(type='ImageFolder', data_root='in1k', data_prefix='train')
    assert describe_data(cfg) == 'in1k/train'


@pytest.mark.parametrize(
    ('metrics', 'name'),
    [
        ({'images/knn_top1': 50.0}, 'images/knn_top1'),
        ({'images/chance': 9.0, 'images/knn10_top1': 50.0}, 'images/knn10_top1'),
        ({'images/knn_top1': float('nan')}, None),  # not measured
        ({'videos/knn_top1': 50.0}, None),
    ],
)
def test_accuracy_of_a_kind_is_found_if_it_was_measured(metrics, name):
    assert knn_metric(metrics, 'images') == name


def test_training_time_is_that_of_all_steps(tmp_path):
    for number, steps in enumerate([(5, 10), (15, 20)]):
        folder = tmp_path / str(number) / 'vis_data'
        folder.mkdir(parents=True)
        rows = [dict(step=step, iter=step, time=0.5) for step in steps]
        rows.append({'step': 1, 'images/knn_top1': 50.0, 'time': 9.0})
        (folder / 'scalars.json').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    assert training_seconds(tmp_path) == 10.0
