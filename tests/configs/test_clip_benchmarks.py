# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encoders of clips transfer to images and videos, each by its config, from weights of its own pretraining."""

import re

import pytest

from vicmae.config.paths import project_file

from .cached import load
from .test_benchmarks import shorten, train_two_steps, write_pretrained

METHODS = ('videomae', 'maest', 'omnimae')
FOLDERS = [project_file('configs') / method for method in METHODS]
TRANSFER = [path for folder in FOLDERS for path in sorted(folder.glob('benchmarks/*.py'))]

every_transfer = pytest.mark.parametrize('path', TRANSFER, ids=lambda path: path.stem)


def pretraining_of(path):
    """The base config of the method of a transfer config."""
    (config, *_) = sorted(path.parents[1].glob(f'{path.parents[1].name}_vit-base-p16_8xb*.py'))
    return config


@pytest.mark.slow
@every_transfer
def test_weights_of_pretraining_are_trained_two_steps(path, demo_data, tmp_path):
    pretrained = write_pretrained(pretraining_of(path), tmp_path / 'pretrained.pth')
    train_two_steps(shorten(load(path), demo_data, tmp_path / 'run'), pretrained)


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
