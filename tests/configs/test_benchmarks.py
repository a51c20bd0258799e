# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each command of the table of benchmarks builds, and each distinct one trains two steps from pretrained weights."""

import copy
import functools
import json
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vicmae.apis import build_runner, load_config
from vicmae.cli.common import parse_value
from vicmae.config import check
from vicmae.config.old_names import read_benchmarks
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

from .cached import load
from .test_ablations import shrink, shrink_clips
from .test_configs import num_trained

FOLDER = project_file('configs/vicmae/benchmarks')
PATHS = sorted(FOLDER.glob('*.py'))
DEBUG = sorted(path.stem for path in PATHS if path.stem.endswith('_debug'))
COMMANDS = read_benchmarks(FOLDER / 'README.md')
VIDEO_SETS = dict(k400=400, k600=600, k700=700, ssv2=174, ucf101=101, hmdb51=51)

# One of each group that differs in numbers alone: these are trained, or tested.
TRAINED = (
    ('finetune', 'in1k', 'base'),
    ('finetune', 'in1k-10pct', 'base'),
    ('finetune', 'k400', 'base'),
    ('finetune', 'ssv2', 'base'),
    ('linear', 'in1k', 'base'),
    ('linear', 'in1k-5shot', 'base'),
    ('linear', 'k400', 'base'),
    ('linear', 'ssv2', 'base'),
    ('attentive', 'in1k', 'base'),
    ('attentive', 'k400', 'base'),
    ('attentive', 'ssv2', 'base'),
)
TRAINED_SLOWLY = (
    ('linear', 'in1k-10pct', 'base'),
    ('linear', 'pets', 'base'),
    ('attentive', 'in1k-10pct', 'base'),
    ('attentive', 'in1k-5shot', 'base'),
)
TESTED = (('probes', 'in1k', 'base'), ('probes', 'k400', 'base'))
TESTED_SLOWLY = (('probes', 'ssv2', 'base'),)


def load_command(key):
    """The config of a command of the table, or of a debug config."""
    if isinstance(key, str):
        return load(FOLDER / f'{key}.py')
    config, options = COMMANDS[key]
    values = dict(option.split('=', 1) for option in options)
    return load_config(
        FOLDER / f'{config}.py', {name: parse_value(value) for name, value in values.items()}
    )


@pytest.fixture
def read_once(monkeypatch):
    """Reads each file and finds each registered type once: for tests that load some hundred configs."""
    read = functools.cache(Config.fromfile)
    monkeypatch.setattr(Config, 'fromfile', lambda path: copy.deepcopy(read(path)))
    for name in ('find_type', 'parameters_of'):
        monkeypatch.setattr(check, name, functools.cache(getattr(check, name)))


def distinct(fast, slow):
    keys = [*fast, *(pytest.param(key, marks=pytest.mark.slow) for key in slow)]
    return pytest.mark.parametrize('key', keys, ids=lambda key: '-'.join(key))


def take_demo_data(source, data):
    """The drawn images or videos in the place of a source's own."""
    places = (source.get(name, '') for name in ('data_prefix', 'ann_file', 'data_root'))
    part = 'train' if any(Path(place).stem == 'train' for place in places) else 'val'
    source.pop('ann_file', None)
    source.data_root = str(data / ('images' if source.type == 'ImageFolder' else 'videos'))
    source.data_prefix = part


def shorten(cfg, data, work_dir):
    """Two steps of four images in this process."""
    shrink(cfg._cfg_dict)
    shrink_clips(cfg._cfg_dict)
    cfg._cfg_dict.pop('demo_data', None)
    cfg.model.head.num_classes = 4
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        take_demo_data(loader.dataset, data)
    cfg.train_dataloader.sampler.samples_per_epoch = 8
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = (1,)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.experiment_name = work_dir.name
    return cfg


def shorten_probes(cfg, data):
    """Small features of the demo data."""
    shrink(cfg._cfg_dict)
    cfg._cfg_dict.pop('demo_data', None)
    for source in cfg.test_dataloader.dataset.sources.values():
        take_demo_data(source, data)
    return cfg


def without_numbers(node):
    """What is left of a config without its numbers, folders and top-level variables."""
    if isinstance(node, dict):
        return {key: without_numbers(value) for key, value in node.items() if key != 'data_root'}
    if isinstance(node, (list, tuple)):
        return [without_numbers(value) for value in node]
    return type(node) if isinstance(node, (int, float)) else node


@pytest.mark.slow
def test_each_command_differs_in_numbers_alone_from_one_that_is_run(read_once):
    parts = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper')
    groups = {}
    for key in COMMANDS:
        cfg = load_command(key).to_dict()
        cfg['model']['backbone'].pop('arch')
        shape = without_numbers({part: cfg.get(part) for part in (*parts, 'test_cfg')})
        groups.setdefault(repr(shape), set()).add(key)
    run = {*TRAINED, *TRAINED_SLOWLY, *TESTED, *TESTED_SLOWLY}
    assert [group for group in groups.values() if len(group & run) != 1] == []


def write_pretrained(config, path):
    """Writes random weights of a config of pretraining at the size to which all are shrunken."""
    cfg = load(config)
    shrink(cfg._cfg_dict)
    shrink_clips(cfg._cfg_dict)
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, path)
    return path


@pytest.fixture(scope='session')
def pretrained(tmp_path_factory):
    """Weights of a run of pretraining at each shrunken size, which is the same for all."""
    path = tmp_path_factory.mktemp('pretrained') / 'epoch_1.pth'
    return write_pretrained(project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py'), path)


def train_two_steps(cfg, pretrained):
    """Trains a shortened config from pretrained weights, which a frozen backbone keeps."""
    cfg.model.pretrained = str(pretrained)
    runner = build_runner(cfg, training=True)
    runner.train()
    assert runner.iter == 2
    (log,) = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert 0 <= rows[-1]['accuracy/top1'] <= 100
    weights = torch.load(pretrained, weights_only=True)['state_dict']
    moved = [
        name
        for name, value in runner.model.backbone.state_dict().items()
        if name.startswith('layers.') and not value.equal(weights[f'backbone.{name}'])
    ]
    assert bool(moved) is not runner.model.freeze_backbone


@distinct(TRAINED, [*TRAINED_SLOWLY, *(name for name in DEBUG if '_probes_' not in name)])
def test_command_trains_two_steps_from_pretrained_weights(key, demo_data, pretrained, tmp_path):
    train_two_steps(shorten(load_command(key), demo_data, tmp_path), pretrained)


def test_each_command_builds_the_model_of_its_protocol(read_once):
    built = set()
    for key in COMMANDS:
        protocol, data, size = key
        cfg = load_command(key)
        # Other data sets of a config differ in the number of classes.
        if (COMMANDS[key][0], size) not in built:
            built.add((COMMANDS[key][0], size))
            assert (num_trained(cfg) == 0) is (protocol == 'probes')
        if protocol == 'probes':
            sources = cfg.test_dataloader.dataset.sources
            kind = 'video' if data in VIDEO_SETS else 'image'
            assert list(sources) == [f'{kind}_bank', f'{kind}_query']
            assert all(source.get('max_per_class') is None for source in sources.values())
            continue
        probe = protocol != 'finetune'
        model = cfg.model
        assert model.get('freeze_backbone', False) is probe
        assert model.backbone.get('final_norm', True) is probe
        mixing = [model.data_preprocessor.get(f'{kind}_alpha', 0) for kind in ('mixup', 'cutmix')]
        assert mixing == ([0, 0] if probe else [0.8, 1.0])
        assert (model.backbone.get('drop_path_rate', 0) > 0) is not probe
        assert model.head.num_classes == cfg.num_classes
        if data in VIDEO_SETS:
            require_clips_of(cfg, protocol, data)


def require_clips_of(cfg, protocol, data):
    """A command on videos takes the frames and views of its protocol and data set."""
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    flips = repr(train.pipeline).count("'RandomFlip'")
    assert flips == (data != 'ssv2')  # its classes know left from right
    assert cfg.model.head.num_classes == VIDEO_SETS[data]
    assert train.visits_per_opening == 2
    assert cfg.num_frames == (16 if protocol == 'finetune' else 8)
    assert cfg.model.backbone.num_frames == (16 if protocol == 'finetune' else 1)
    clips = {step.type: step for step in test.pipeline}
    if protocol == 'finetune':
        frames = clips['UniformFrames' if data == 'ssv2' else 'UniformClips']
        assert frames.num_clips == (2 if data == 'ssv2' else 7)
    assert clips['SpatialCrops'].num_crops == 3


def test_table_has_each_protocol_at_each_size_for_each_kind_of_data():
    sizes = {
        key[:2]: {size for *rest, size in COMMANDS if tuple(rest) == key[:2]} for key in COMMANDS
    }
    for (protocol, data), found in sizes.items():
        huge = {'huge'} if data not in VIDEO_SETS or protocol != 'finetune' else set()
        assert found == {'base', 'small', 'large'} | huge, (protocol, data)
    for protocol in ('finetune', 'linear', 'attentive', 'probes'):
        named = {data for other, data in sizes if other == protocol}
        assert {'in1k', 'places365', 'inat2018', 'pets', *VIDEO_SETS} <= named


def test_table_of_benchmarks_names_each_config():
    table = (FOLDER / 'README.md').read_text(encoding='utf-8')
    named = re.findall(r'\(([\w-]+\.py)\)', table)
    assert sorted(set(named)) == [path.name for path in PATHS]
    assert len(PATHS) <= 60


@distinct(TESTED, (*TESTED_SLOWLY, *(name for name in DEBUG if '_probes_' in name)))
def test_probes_test_frozen_features(key, demo_data, tmp_path):
    cfg = shorten_probes(load_command(key), demo_data)
    sources = cfg.test_dataloader.dataset.sources
    cfg.test_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.test_cfg.cache_dir = str(tmp_path / 'features')
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(tmp_path), 'none', tmp_path.name
    figures = build_runner(cfg, training=False).test()
    kinds = {source.tags.probe for source in sources.values()}
    names = [
        f'{kind}/{name}' for kind in kinds for name in ('knn10_top1', 'knn200_top1', 'linear_top1')
    ]
    assert set(names) <= figures.keys()
    assert all(math.isfinite(value) for value in figures.values())
    assert list((tmp_path / 'features').glob('*.pth'))
