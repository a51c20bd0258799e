# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of files and of pixels in memory, with and without workers."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import vicmae
from vicmae.apis import FeatureExtractor, encode_files, load_config, load_model
from vicmae.config.paths import project_file
from vicmae.datasets.clip_reader import ClipReader
from vicmae.errors import ConfigError, DataError
from vicmae.io.video import open_video

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')


@pytest.fixture(scope='module')
def model():
    return load_model(DEBUG)


@pytest.fixture
def folder(demo_data, tmp_path):
    for number, image in enumerate(sorted(demo_data.rglob('*.jpg'))[:3]):
        shutil.copy(image, tmp_path / f'{number}.jpg')
    shutil.copy(next(demo_data.rglob('*.mp4')), tmp_path / 'clip.mp4')
    return tmp_path


@pytest.mark.parametrize('num_workers', [0, 2])
def test_files_folders_pictures_and_generators_have_the_same_features(model, folder, num_workers):
    extractor = FeatureExtractor(model, num_workers=num_workers)
    expected = encode_files(model, folder)
    files = sorted(folder.iterdir())
    torch.testing.assert_close(extractor(folder), expected)
    torch.testing.assert_close(extractor(str(folder)), expected)
    torch.testing.assert_close(extractor(files), expected)
    torch.testing.assert_close(extractor(path for path in files), expected)
    pictures = [Image.open(path) for path in files[:3]]
    torch.testing.assert_close(extractor(pictures), expected[:3])
    arrays = [np.array(picture) for picture in pictures]
    torch.testing.assert_close(extractor(arrays), expected[:3])
    torch.testing.assert_close(extractor(arrays[0]), expected[:1])
    with open_video(str(files[3])) as video:
        frames = np.stack(video.frames(range(video.num_frames)))
    torch.testing.assert_close(extractor(frames), expected[3:])
    torch.testing.assert_close(extractor(torch.from_numpy(frames).movedim(-1, 1)), expected[3:])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_rows_of_windows_have_their_frames_and_times(model, folder, num_workers):
    path = str(folder / 'clip.mp4')
    options = dict(num_frames=4, window=0.5, stride=0.25, num_workers=num_workers)
    rows = list(FeatureExtractor(model, batch_size=5, **options).rows(path))
    with open_video(path) as video, torch.no_grad():
        ids, _ = ClipReader(64, 4, 0.5, 0.25)._rows_of(video)
        assert len(rows) == len(ids) > 2
        for row, frames in zip(rows, ids.tolist(), strict=True):
            assert list(row.frames) == frames and row.source == path
            assert list(row.times) == video.times_of(frames)
            pixels = ClipReader(64, 4, takes_clips=True)(np.stack(video.frames(frames)))
            clip = model.data_preprocessor.normalize(torch.from_numpy(next(pixels).units[0]))
            torch.testing.assert_close(row.feature, model.extract_clip_feat([clip])[0])


def test_dense_features_have_the_shape_of_the_patch_grid(model, folder):
    assert FeatureExtractor(model, output='dense')(folder / '0.jpg').shape == (1, 8, 8, 64)
    assert FeatureExtractor(model, output='frames')(folder / 'clip.mp4').shape == (8, 64)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_bad_input_is_named_or_left_out(model, folder, num_workers):
    (folder / '1.jpg').write_bytes(b'torn')
    with pytest.raises(DataError, match=r"'.*/1\.jpg'"):
        FeatureExtractor(model, num_workers=num_workers)(folder)
    extractor = FeatureExtractor(model, num_workers=num_workers, on_bad_file='skip')
    assert len(extractor(folder)) == 3
    assert list(extractor.bad_files) == [str(folder / '1.jpg')]
    with pytest.raises(DataError, match=r'nothing to encode\. .*1\.jpg'):
        extractor(folder / '1.jpg')


def test_crash_of_a_decoder_is_a_bad_file(model, folder, monkeypatch):
    read = ClipReader.__call__

    def crash(self, source, span=None):
        if str(source).endswith('1.jpg'):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, source)

    monkeypatch.setattr(ClipReader, '__call__', crash)
    extractor = FeatureExtractor(model, num_workers=2, on_bad_file='skip')
    assert len(extractor(folder)) == 3
    assert 'killed its process (SIGKILL' in extractor.bad_files[str(folder / '1.jpg')]


def test_generator_is_read_as_it_is_encoded(model, folder):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield folder / '0.jpg'

    rows = FeatureExtractor(model, batch_size=4).rows(endless())
    for number in range(1, 10):
        next(rows)
        assert read <= number + 4


def test_checkpoint_brings_its_config(model, folder, tmp_path):
    path = tmp_path / 'weights' / 'a.pth'
    path.parent.mkdir()
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=load_config(DEBUG).pretty_text))
    torch.save(content, path)
    extractor = vicmae.FeatureExtractor(path, device='cpu')
    assert torch.equal(extractor(folder / '0.jpg'), FeatureExtractor(model)(folder / '0.jpg'))


@pytest.mark.parametrize('device', ['gpu', 'cuda:77'])
def test_device_that_is_not_there_is_refused(model, device):
    with pytest.raises(ConfigError, match=f"The device can't be '{device}': .* 'cpu' always works"):
        FeatureExtractor(model, device=device)


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (dict(on_bad_file='keep'), 'on_bad_file'),
        (dict(num_workers=-1), 'num_workers'),
        (dict(batch_size=0), 'batch_size'),
        (dict(output='all'), 'output'),
        (dict(window=-1), 'window'),
        (dict(num_frames=0), 'num_frames'),
    ],
)
def test_wrong_options_are_refused(model, options, name):
    with pytest.raises(ValueError, match=f'`{name}` must be'):
        FeatureExtractor(model, **options)
