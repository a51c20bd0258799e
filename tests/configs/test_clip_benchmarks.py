# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encoders of clips transfer to images and videos, each by its config, from weights of its own pretraining."""

import re

import pytest

from vicmae.apis import build_runner
from vicmae.config.paths import project_file

from .cached import load
from .test_benchmarks import shorten, shorten_probes, train_two_steps, write_pretrained

METHODS = ('videomae', 'maest', 'omnimae')
FOLDERS = [project_file('configs') / method for method in METHODS]
TRANSFER = [path for folder in FOLDERS for path in sorted(folder.glob('benchmarks/*.py'))]

PROBES = [path for path in TRANSFER if '_probes_' in path.name]

every_transfer = pytest.mark.parametrize('path', TRANSFER, ids=lambda path: path.stem)
every_trained = pytest.mark.parametrize(
    'path', [path for path in TRANSFER if path not in PROBES], ids=lambda path: path.stem
)
every_probe = pytest.mark.parametrize('path', PROBES, ids=lambda path: path.stem)


def pretraining_of(path):
    """The base config of the method of a transfer config."""
    (config, *_) = sorted(path.parents[1].glob(f'{path.parents[1].name}_vit-base-p16_8xb*.py'))
    return config


@pytest.mark.slow
@every_trained
def test_weights_of_pretraining_are_trained_two_steps(path, demo_data, tmp_path):
    pretrained = write_pretrained(pretraining_of(path), tmp_path / 'pretrained.pth')
    train_two_steps(shorten(load(path), demo_data, tmp_path / 'run'), pretrained)


@pytest.mark.slow
@every_probe
def test_frozen_features_of_pretraining_are_probed(path, demo_data, tmp_path):
    pretrained = write_pretrained(pretraining_of(path), tmp_path / 'pretrained.pth')
    cfg = shorten_probes(load(path), demo_data)
    cfg.test_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.test_cfg.cache_dir = None
    cfg.update(work_dir=str(tmp_path), launcher='none', load_from=str(pretrained))
    figures = build_runner(cfg, training=False).test()
    kind = 'images' if path.stem.endswith('in1k') else 'videos'
    assert {f'{kind}/knn10_top1', f'{kind}/linear_top1'} <= figures.keys()


@every_probe
def test_a_probe_of_videos_takes_one_clip_of_the_frames_of_the_model(path):
    cfg = load(path)
    for source in cfg.test_dataloader.dataset.sources.values():
        types = [step.type for step in source.pipeline]
        assert ('UniformClips' in types) == (source.type == 'VideoFolder')
    assert cfg.model.backbone.get('num_frames', 16) == 16


@every_transfer
def test_backbone_is_that_of_pretraining(path):
    transfer, pretraining = (load(p).model.backbone.to_dict() for p in (path, pretraining_of(path)))
    changed = {'masking', 'num_frames', 'drop_path_rate', 'final_norm'}
    assert {key: value for key, value in transfer.items() if key not in changed} == {
        key: value for key, value in pretraining.items() if key not in changed
    }


@pytest.mark.parametrize('folder', FOLDERS, ids=METHODS)
def test_readme_names_each_config_of_a_method_once(folder):
    text = (folder / 'README.md').read_text(encoding='utf-8')
    named = re.findall(r'\(([\w/-]+\.py)\)', text)
    assert sorted(named) == sorted(str(path.relative_to(folder)) for path in folder.rglob('*.py'))
