# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each benchmark trains two steps, small: its own parts, on real files, from pretrained weights."""

import json
import math
import re

import pytest
import torch

from vicmae.apis import build_runner
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

from .cached import load
from .test_ablations import shrink

FOLDER = project_file('configs/vicmae/benchmarks')
PROBES = sorted(FOLDER.glob('*_probes_*.py'))
BENCHMARKS = sorted(set(FOLDER.glob('*.py')) - set(PROBES))
SETS = ('cifar10', 'cifar100', 'food101', 'cars', 'dtd', 'pets', 'flowers', 'caltech101', 'sun397')
VIDEO_SETS = dict(k400=400, k600=600, k700=700, ssv2=174, ucf101=101, hmdb51=51)
SIZES = ('small-p16', 'base-p16', 'large-p16', 'huge-p14')

# Sizes and small sets differ in nothing once they are shrunken: these stand for all, and are trained and tested.
FAST = (
    'vicmae_vit-base-p16_attentive_8xb128-amp-coslr-20e_in1k',
    'vicmae_vit-base-p16_attentive_8xb64-amp-coslr-20e_k400',
    'vicmae_vit-base-p16_attentive_8xb64-amp-coslr-20e_ssv2',
    'vicmae_vit-base-p16_finetune_1xb256-amp-coslr-100e_dtd',
    'vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k-10pct',
    'vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k',
    'vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400',
    'vicmae_vit-base-p16_finetune_8xb16-amp-coslr-50e_ssv2',
    'vicmae_vit-base-p16_linear_1xb256-amp-coslr-90e_in1k-5shot',
    'vicmae_vit-base-p16_linear_8xb2048-amp-lars-coslr-90e_in1k',
    'vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_k400',
    'vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_ssv2',
)
SLOW = (
    'vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k-1pct',
    'vicmae_vit-base-p16_linear_1xb256-amp-coslr-90e_in1k-10shot',
    'vicmae_vit-base-p16_linear_1xb256-amp-coslr-90e_in1k-1shot',
    'vicmae_vit-huge-p14_finetune_8xb128-amp-coslr-50e_in1k-10pct',
    'vicmae_vit-huge-p14_finetune_8xb128-amp-coslr-50e_in1k-1pct',
    'vicmae_vit-huge-p14_finetune_8xb128-amp-coslr-50e_in1k',
    'vicmae_vit-huge-p14_linear_8xb2048-amp-lars-coslr-50e_in1k',
    'vicmae_vit-large-p16_finetune_8xb128-amp-coslr-50e_in1k-10pct',
    'vicmae_vit-large-p16_finetune_8xb128-amp-coslr-50e_in1k-1pct',
    'vicmae_vit-large-p16_finetune_8xb128-amp-coslr-50e_in1k',
    'vicmae_vit-large-p16_finetune_8xb16-amp-coslr-100e_k400',
    'vicmae_vit-large-p16_finetune_8xb16-amp-coslr-50e_ssv2',
    'vicmae_vit-tiny-p8_attentive-video_debug',
    'vicmae_vit-tiny-p8_attentive_debug',
    'vicmae_vit-tiny-p8_finetune-video_debug',
    'vicmae_vit-tiny-p8_finetune_debug',
    'vicmae_vit-tiny-p8_linear-video_debug',
    'vicmae_vit-tiny-p8_linear_debug',
)
FAST_PROBES = ('vicmae_vit-base-p16_probes_in1k', 'vicmae_vit-base-p16_probes_k400')
SLOW_PROBES = (
    *(f'vicmae_vit-base-p16_probes_{name}' for name in (*SETS, 'inat2018', 'places365')),
    *(f'vicmae_vit-base-p16_probes_{name}' for name in VIDEO_SETS if name != 'k400'),
    'vicmae_vit-tiny-p8_probes_debug',
)

every_benchmark = pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)


def distinct(fast, slow):
    stems = [*fast, *(pytest.param(stem, marks=pytest.mark.slow) for stem in slow)]
    return pytest.mark.parametrize('stem', stems)


def shrink_clips(node):
    """Clips of four frames in the place of longer ones."""
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        shrink_clips(item)
    if isinstance(node, dict):
        for key in node.keys() & {'clip_len', 'num_frames', 'num_segments'}:
            node[key] = min(node[key], 4)


def take_demo_data(source, data, part):
    """The drawn images or videos in the place of a source's own."""
    source.pop('ann_file', None)
    source.data_root = str(data / ('images' if source.type == 'ImageFolder' else 'videos') / part)


def shorten(cfg, data, work_dir):
    """Two steps of four images in this process."""
    shrink(cfg._cfg_dict)
    shrink_clips(cfg._cfg_dict)
    cfg._cfg_dict.pop('demo_data', None)
    cfg.model.head.num_classes = 4
    for name, part in [('train', 'train'), ('val', 'val'), ('test', 'val')]:
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        take_demo_data(loader.dataset, data, part)
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
        take_demo_data(source, data, 'train' if source.tags.role == 'bank' else 'val')
    return cfg


def groups_of(paths, change):
    """The names of all configs, those together that are equal after a change."""
    groups = {}
    for path in paths:
        groups.setdefault(repr(change(load(path)).to_dict()), set()).add(path.stem)
    return list(groups.values())


@pytest.mark.slow
def test_each_benchmark_is_equal_to_one_that_is_trained(demo_data, tmp_path):
    groups = groups_of(BENCHMARKS, lambda cfg: shorten(cfg, demo_data, tmp_path))
    trained = [len(group & {*FAST, *SLOW}) for group in groups]
    assert trained == [1] * len(groups), [g for g, n in zip(groups, trained, strict=True) if n != 1]
    assert len(groups) == len(FAST + SLOW)


@pytest.mark.slow
def test_each_config_of_probes_is_equal_to_one_that_is_tested(demo_data):
    groups = groups_of(PROBES, lambda cfg: shorten_probes(cfg, demo_data))
    tested = [len(group & {*FAST_PROBES, *SLOW_PROBES}) for group in groups]
    assert tested == [1] * len(groups), [g for g, n in zip(groups, tested, strict=True) if n != 1]
    assert len(groups) == len(FAST_PROBES + SLOW_PROBES)


@pytest.fixture(scope='session')
def pretrained(tmp_path_factory):
    """Weights of a run of pretraining at each shrunken size, which is the same for all."""
    cfg = load(project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py'))
    shrink(cfg._cfg_dict)
    path = tmp_path_factory.mktemp('pretrained') / 'epoch_1.pth'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, path)
    return path


@distinct(FAST, SLOW)
def test_config_trains_two_steps_from_pretrained_weights(stem, demo_data, pretrained, tmp_path):
    cfg = shorten(load(FOLDER / f'{stem}.py'), demo_data, tmp_path)
    cfg.model.pretrained = str(pretrained)
    runner = build_runner(cfg, training=True)
    runner.train()
    assert runner.iter == 2
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
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


@every_benchmark
def test_probe_freezes_the_backbone_and_keeps_its_last_norm(path):
    model = load(path).model
    probe = any(word in path.stem for word in ('_linear', '_attentive'))
    assert model.get('freeze_backbone', False) is probe
    assert model.backbone.get('final_norm', True) is probe
    mixing = [model.data_preprocessor.get(f'{kind}_alpha', 0) for kind in ('mixup', 'cutmix')]
    assert mixing == ([0, 0] if probe else [0.8, 1.0])
    assert (model.backbone.get('drop_path_rate', 0) > 0) is not probe


@pytest.mark.parametrize('size', SIZES[:3])
@pytest.mark.parametrize('name', VIDEO_SETS)
@pytest.mark.parametrize('protocol', ['finetune', 'linear', 'attentive', 'probes'])
def test_each_set_of_videos_has_each_protocol_in_each_size(name, protocol, size):
    (path,) = FOLDER.glob(f'vicmae_vit-{size}_{protocol}_*{name}.py')
    cfg = load(path)
    if protocol == 'probes':
        assert list(cfg.test_dataloader.dataset.sources) == ['video_bank', 'video_query']
        return
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    flips = [t.type for t in train.pipeline[3].transforms].count('RandomFlip')
    assert flips == (name != 'ssv2')  # its classes know left from right
    assert cfg.model.head.num_classes == VIDEO_SETS[name]
    assert train.visits_per_opening == 2
    samples_time = {'clip_len', 'num_segments', 'num_frames'}
    frames = max(train.pipeline[1][key] for key in samples_time & train.pipeline[1].keys())
    assert frames == (16 if protocol == 'finetune' else 8)
    assert cfg.model.backbone.get('num_frames', 1) == (16 if protocol == 'finetune' else 1)
    if protocol == 'finetune':
        assert test.pipeline[1].num_clips == (2 if name == 'ssv2' else 7)
    assert test.pipeline[3].num_crops == 3


@pytest.mark.parametrize('size', SIZES)
def test_each_size_has_each_protocol(size):
    stems = [path.stem for path in BENCHMARKS + PROBES if f'vit-{size}_' in path.stem]
    wanted = ['in1k', 'places365', 'inat2018']
    wanted += [f'in1k-{k}' for k in ('1shot', '5shot', '10shot', '1pct', '10pct')]
    for data in wanted:
        assert any(stem.endswith(f'_{data}') for stem in stems), data
    for data in ('in1k', 'places365', 'inat2018'):
        for protocol in ('finetune', 'linear', 'attentive', 'probes'):
            assert len([s for s in stems if f'_{protocol}_' in s and s.endswith(f'_{data}')]) == 1


@pytest.mark.parametrize('name', SETS)
def test_small_set_is_a_few_lines(name):
    (path,) = FOLDER.glob(f'*_finetune_*_{name}.py')
    assert len(list(FOLDER.glob(f'*_probes_{name}.py'))) == 1
    code = re.sub(r'""".*?"""|#[^\n]*', '', path.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    cfg = load(path)
    roots = [cfg[f'{part}_dataloader'].dataset.data_root for part in ('train', 'val', 'test')]
    assert roots == [f'data/{name}/train', f'data/{name}/val', f'data/{name}/val']


def test_table_of_benchmarks_names_each_config_once():
    table = (FOLDER / 'README.md').read_text(encoding='utf-8')
    named = re.findall(r'\(([\w-]+\.py)\)', table)
    assert sorted(named) == sorted(path.name for path in FOLDER.glob('*.py'))


@pytest.mark.parametrize('path', PROBES, ids=lambda path: path.stem)
def test_probes_take_whole_sets(path):
    sources = load(path).test_dataloader.dataset.sources
    assert all(source.get('max_per_class') is None for source in sources.values())


@distinct(FAST_PROBES, SLOW_PROBES)
def test_probes_test_frozen_features(stem, demo_data, tmp_path):
    cfg = shorten_probes(load(FOLDER / f'{stem}.py'), demo_data)
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
