# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The arena compares methods fairly: rows differ in the method alone, and the test data choose nothing."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from vicmae.apis import draw_weights, load_config
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

PROJECT = project_file('projects/arena')
DATA = project_file('.') / '../shared/data'

needs_data = pytest.mark.skipif(
    not (DATA / 'motion_mini').is_dir(), reason=f'needs the real pictures and clips at {DATA}'
)


@pytest.fixture(scope='module')
def configs(arena):
    return {name: load_config(row.config) for name, row in arena.rows.ROWS.items()}


def transforms_in(node):
    """Yields each transform of a pipeline, also those inside others."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        for value in node.values():
            yield from transforms_in(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from transforms_in(value)


def test_rows_have_one_encoder_one_optimizer_and_one_schedule(arena, configs):
    reference = configs[arena.rows.REFERENCE]
    for name, cfg in configs.items():
        assert cfg.model.backbone.arch == reference.model.backbone.arch, name
        assert (cfg.image_size, cfg.patch_size, cfg.num_frames) == (48, 8, 8), name
        assert cfg.optim_wrapper == reference.optim_wrapper, name
        assert cfg.param_scheduler == reference.param_scheduler, name
        assert cfg.train_cfg == reference.train_cfg, name


def test_every_config_is_a_row_and_every_row_has_a_config(arena):
    names = {row.config.stem for row in arena.rows.ROWS.values()}
    assert names == {path.stem for path in (PROJECT / 'configs').glob('[!_]*/*.py')} | {
        path.stem for path in (PROJECT / 'configs').glob('*.py')
    }


def test_no_row_flips_videos(configs):
    for name, cfg in configs.items():
        for source, settings in cfg.train_dataloader.dataset.sources.items():
            if settings is not None and source != 'images':
                types = [t['type'] for t in transforms_in(settings.pipeline)]
                assert 'RandomFlip' not in types, name


def test_no_row_reads_a_test_file_in_training(configs):
    for name, cfg in configs.items():
        for settings in cfg.train_dataloader.dataset.sources.values():
            for path in settings.shards if settings is not None else ():
                assert path.endswith(('/fit', '/dev')), name


@pytest.fixture
def clips(arena):
    """Makes a set of six persons whose two classes are in different halves of the picture."""
    labels = np.arange(60) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (60, 8, 3, 48, 48), np.uint8)
    pixels[labels == 1, :, :, :24] += 150
    pixels[:, 1::2] //= 2
    groups = np.array([f'person{i // 10}' for i in range(60)])
    splits = np.array(['fit'] * 20 + ['dev'] * 10 + ['val'] * 30)
    return arena.data.LabelledSet('utdd', pixels, labels, splits, groups)


def test_each_clip_is_a_query_once_and_its_group_is_not_in_the_bank(clips):
    parts = clips.parts(search=False)
    assert sum(query.astype(int) for _, query in parts).tolist() == [1] * 60
    for bank, query in parts:
        assert not set(clips.groups[bank]) & set(clips.groups[query])
        assert len(set(clips.groups[query])) == 1


def test_search_uses_no_test_sample(arena, clips):
    (bank, query) = clips.parts(search=True)[0]
    assert not (bank & query).any()
    assert 'val' not in clips.splits[bank | query]
    model = MODELS.build(load_config(arena.rows.ROWS['vicmae'].config).model)
    before, _ = arena.scoring.score(model, [clips], search=True)
    clips.pixels[clips.splits == 'val'] = 0
    assert arena.scoring.score(model, [clips], search=True)[0] == before


@pytest.mark.parametrize('name', ['vicmae', 'clips', 'supervised'])
def test_easy_classes_are_told_apart_by_features_of_frames_and_of_clips(arena, clips, name):
    model = MODELS.build(load_config(arena.rows.ROWS[name].config).model)
    draw_weights(model, 0)
    right, health = arena.scoring.score(model, [clips], search=False)
    tested = {name: len(marks) for name, marks in right['utdd'].items()}
    assert tested == dict(logistic=60, knn=60, attentive=30)  # the attentive one on `val` alone
    for classifier in ('logistic', 'attentive'):
        assert right['utdd'][classifier].count('1') > 0.9 * tested[classifier]
    assert health['utdd/effective_rank'] > 1
    tokens = arena.scoring.encode(model, torch.from_numpy(clips.pixels))
    assert tokens.shape == (60, 8 if name == 'vicmae' else 4, 36, 192)
    assert arena.scoring.pool(tokens).shape == (60, 3 * 192)  # mean, change and spread


def test_floor_is_the_nearest_neighbour_of_frame_differences(arena, clips):
    marks = arena.scoring.score_floor([clips])['utdd']['logistic']
    change = np.abs(np.diff(clips.pixels.astype(float).mean(axis=2), axis=1)).mean(axis=1)
    small = change.reshape(60, 24, 2, 24, 2).mean(axis=(2, 4)).reshape(60, -1)
    for i, mark in enumerate(marks):
        others = np.flatnonzero(clips.groups != clips.groups[i])
        nearest = others[np.linalg.norm(small[others] - small[i], axis=1).argmin()]
        assert mark == str(int(clips.labels[nearest] == clips.labels[i]))


def test_flops_of_a_step_are_the_mean_over_the_sources(arena):
    one, other, both = (
        arena.budget.count_step_flops(load_config(PROJECT / f'configs/{name}.py'))
        for name in ('vicmae-images', 'vicmae-videos', 'vicmae')
    )
    assert one == pytest.approx(other)  # frames are images
    assert both == pytest.approx(one)
    omni = load_config(PROJECT / 'configs/omnimae.py')
    costs = arena.budget.count_flops(omni)
    per_sample = {name: c.forward + c.backward for name, c in costs.items()}
    mean = (5 * per_sample['images'] + 3 * per_sample['videos']) / 8
    assert arena.budget.count_step_flops(omni) == pytest.approx(64 * mean)


def test_finished_runs_are_not_repeated(arena, tmp_path, monkeypatch):
    monkeypatch.setattr(arena.run, 'RESULTS', tmp_path)
    task = arena.run.Task('vicmae', 'flops', 0, 1e-3, dict(flops=1e9))
    task.path.parent.mkdir(parents=True)
    task.path.write_text('{}')
    assert arena.run.run_all([task], jobs=1) == []
    assert task.path.read_text() == '{}'


@pytest.mark.parametrize('name', ['random', 'mae', 'omnimae'])
def test_fine_tuning_begins_with_the_encoder_of_its_row(arena, name, tmp_path, monkeypatch):
    monkeypatch.setattr(arena.run, 'WORK', tmp_path)
    task = arena.run.Task(name, 'finetune', 0, 1e-3, dict(flops=1e9))
    weights = tmp_path / f'flops/{name}/seed0/epoch_1.pth'
    if name != 'random':
        with pytest.raises(SystemExit, match='no weights.*run it again'):
            arena.run.config_of(task)
        weights.parent.mkdir(parents=True)
        pretrained = MODELS.build(load_config(arena.rows.ROWS[name].config).model)
        torch.save(dict(state_dict=pretrained.state_dict()), weights)
    model = MODELS.build(arena.run.config_of(task).model)
    assert type(model).__name__ == 'SupervisedJoint' and model.backbone.takes_clips
    model.init_weights()
    if name != 'random':
        key = 'layers.2.ffn.layers.0.0.weight'
        assert torch.equal(model.backbone.state_dict()[key], pretrained.backbone.state_dict()[key])


@needs_data
def test_a_fifth_of_train_is_held_out_by_group(arena):
    samples = arena.data.read_samples(DATA)
    for name in arena.data.SETS:
        own = [sample for sample in samples if sample.set == name]
        counts = Counter(sample.split for sample in own)
        share = counts['dev'] / (counts['fit'] + counts['dev'])
        assert 0.12 < share < 0.26, name
        fit, dev = ({s.group for s in own if s.split == split} for split in ('fit', 'dev'))
        assert not fit & dev


@pytest.fixture
def small_data(tmp_path):
    """Real data of two classes of each set, with lists as theirs."""
    for folder in ('real_mini', 'motion_mini'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for path in (DATA.resolve() / folder).iterdir():
            if path.is_dir():
                (tmp_path / 'data' / folder / path.name).symlink_to(path)
        with open(DATA / folder / 'splits.csv', newline='') as file:
            lines = list(csv.DictReader(file))
        seen: dict[str, list[str]] = {}
        for line in lines:
            name = line['class'].split('_')[0] if '/images/' not in f'/{line["path"]}' else 'images'
            classes = seen.setdefault(name, [])
            if line['class'] not in classes:
                classes.append(line['class'])
            line['kept'] = classes.index(line['class']) < 2
        kept = [line for line in lines if line.pop('kept')]
        with open(tmp_path / 'data' / folder / 'splits.csv', 'w', newline='') as file:
            writer = csv.DictWriter(file, lines[0].keys() - {'kept'})
            writer.writeheader()
            writer.writerows(kept)
    return tmp_path / 'data'


@pytest.mark.slow
@needs_data
def test_one_command_packs_searches_trains_scores_and_repeats_nothing(arena, small_data, tmp_path):
    for name in ('configs', 'tools', 'vicmae'):
        (tmp_path / name).symlink_to(project_file(name))
    copy = tmp_path / 'projects/arena'
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns('results', '__pycache__'))
    command = [sys.executable, copy / 'run.py', '--data', small_data, '--seeds', '1']
    command += ['--rows', 'floor', 'mae', '--budget', '1.6e11', '--jobs', '2']
    env = os.environ | dict(PYTHONPATH=str(project_file('.')), OMP_NUM_THREADS='1')

    def run():
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        paths = sorted((copy / 'results').rglob('*.json'))
        return {path.relative_to(copy / 'results').as_posix(): path for path in paths}

    files = run()
    contents = {name: json.loads(path.read_text()) for name, path in files.items()}
    sets = contents.pop('sets.json')
    assert set(sets) == {'images', 'ut', 'skate', 'utdd', 'utdc'}
    assert {name for name in contents if not name.startswith('search/mae/')} == {
        '0.16-tflops/floor/seed0.json',
        '0.16-tflops/mae/seed0.json',
    }
    assert len(contents) == 2 + len(arena.run.LEARNING_RATES)
    trained = contents['0.16-tflops/mae/seed0.json']
    assert trained['flops'] == pytest.approx(1.6e11, rel=0.1)  # a whole number of steps
    assert trained['samples'] == trained['iterations'] * trained['batch_size']
    for name, content in contents.items():
        if name.startswith('0.16-tflops/'):
            for one, marks in content['right'].items():
                assert len(marks['logistic']) == len(marks['knn']) == len(sets[one]['groups'])
    stamps = {path: path.stat().st_mtime_ns for path in files.values()}
    assert {path: path.stat().st_mtime_ns for path in run().values()} == stamps
