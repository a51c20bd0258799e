# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints, files to encode, and parts of few files."""

import shutil

import pytest
import torch

from vicmae.apis import load_config, load_model
from vicmae.data_tools.features import folder as folder_module
from vicmae.data_tools.features import plan as plan_module
from vicmae.data_tools.features.run import write_features


def make_checkpoint(path, config):
    cfg = load_config(config)
    state = load_model(cfg).state_dict()
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), path)
    return path


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Checkpoints of a model of frames and of a model of clips."""
    folder = tmp_path_factory.mktemp('weights')
    return {
        'frames': make_checkpoint(folder / 'frames.pth', 'vicmae_vit-tiny-p8_debug'),
        'clips': make_checkpoint(folder / 'clips.pth', 'omnimae_vit-tiny-p8_debug'),
    }


@pytest.fixture(scope='module')
def media(demo_data, tmp_path_factory):
    """Seven images and three videos, and a broken one of each."""
    folder = tmp_path_factory.mktemp('media')
    for number, path in enumerate(sorted(demo_data.rglob('*.jpg'))[:7]):
        shutil.copy(path, folder / f'{number}.jpg')
    for number, path in enumerate(sorted(demo_data.rglob('*.mp4'))[:3]):
        shutil.copy(path, folder / f'{number}.mp4')
    (folder / '3 broken.jpg').write_bytes(b'no picture')
    (folder / 'broken.mp4').write_bytes(b'no video')
    return folder


@pytest.fixture
def small_parts(monkeypatch):
    """Makes parts of two images or of one video, and files of a few rows."""
    monkeypatch.setattr(plan_module, '_BATCHES_OF_IMAGES', 1)
    monkeypatch.setattr(plan_module, '_BYTES_OF_VIDEOS', 1)
    monkeypatch.setattr(folder_module, '_BYTES_AT_ONCE', 1000)


@pytest.fixture
def write():
    """Writes the features of a folder."""

    def call(checkpoint, media, out, **options):
        options = dict(batch_size=2, num_workers=0, device='cpu') | options
        return write_features(checkpoint, [str(media)], out, **options)

    return call
