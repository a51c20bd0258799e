# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The behaviour of `open_video` with every library."""

import itertools
import sys

import av
import numpy as np
import pytest
import torch

from vicmae.errors import DataError, EnvironmentFault
from vicmae.io.video import READERS, open_video
from vicmae.io.video import _video_file as video_file
from vicmae.io.video._turn import Turn


@pytest.fixture(scope='module')
def path(demo_data):
    return str(sorted((demo_data / 'videos/train').rglob('*.mp4'))[0])


def test_reader_knows_number_of_frames_rate_and_size(path, reader, reference_of):
    with open_video(path, reader) as video, av.open(path) as container:
        stream = container.streams.video[0]
        assert video.num_frames == len(reference_of(path).frames) == stream.frames
        assert video.fps == pytest.approx(float(stream.average_rate))
        assert (video.height, video.width) == (stream.height, stream.width)
        assert video.name == path


def test_bytes_are_read_like_the_file(path, reader):
    with open(path, 'rb') as file:
        content = file.read()
    with open_video(content, reader, name='a shard') as video, open_video(path, reader) as same:
        assert video.name == 'a shard'
        assert np.array_equal(video.frames([9, 2]), same.frames([9, 2]))


def test_open_reader_is_returned_unchanged(path):
    with open_video(path) as video:
        assert open_video(video, 'pyav') is video


def test_frame_numbers_may_be_numpy_and_empty(path, reader):
    with open_video(path, reader) as video:
        ids = np.array([4, 1])
        assert np.array_equal(video.frames(ids), video.frames([4, 1]))
        assert video.frames([]) == []


@pytest.mark.parametrize('number', [-1, 48, 10**6])
def test_frame_that_does_not_exist_is_an_error(path, reader, number):
    with open_video(path, reader) as video:
        message = f"The video '{path}' has {video.num_frames} frames, .* got frame {number}"
        with pytest.raises(DataError, match=message):
            video.frames([0, number])


def test_missing_video_is_named(tmp_path, reader):
    with pytest.raises(DataError, match=r"There is no video '.*no\.mp4'"):
        open_video(str(tmp_path / 'no.mp4'), reader)
    with pytest.raises(DataError, match='There is no video'):
        open_video(str(tmp_path), reader)


def test_unknown_reader_is_refused_with_the_choices(path):
    with pytest.raises(ValueError, match="must be one of auto, pyav, .*, got 'opencv'"):
        open_video(path, 'opencv')


def test_name_that_looks_like_a_url_is_a_file(path, reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open(path, 'rb') as file:
        (tmp_path / '12:30 #1%d.mp4').write_bytes(file.read())
    with open_video('12:30 #1%d.mp4', reader) as video:
        assert len(video.frames([3])) == 1


def test_tags_that_are_not_utf8_are_ignored(path, reader, tmp_path):
    tagged = tmp_path / 'tagged.mkv'
    with av.open(path) as source, av.open(str(tagged), 'w') as target:
        target.metadata['title'] = 'AAAAAAAA'
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    tagged.write_bytes(tagged.read_bytes().replace(b'AAAAAAAA', 'Zürich?!'.encode('latin-1')))
    with open_video(str(tagged), reader) as video:
        assert len(video.frames([3])) == 1


def test_cover_picture_is_not_a_video(tmp_path, reader):
    path = tmp_path / 'song.m4a'
    with av.open(str(path), 'w', format='mp4') as container:
        sound = container.add_stream('aac', rate=8000)
        cover = container.add_stream('mjpeg', rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format='rgb24')
        container.mux(cover.encode(picture.reformat(format='yuvj420p')))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), 'fltp', 'mono')
        samples.sample_rate = 8000
        container.mux([*sound.encode(samples), *sound.encode(None)])
    with pytest.raises(DataError, match='a cover picture but no video stream'):
        open_video(str(path), reader)


@pytest.fixture
def without(monkeypatch):
    """Hides a library, as if it were not installed."""

    def take_away(library):
        module = f'vicmae.io.video._{library}'
        monkeypatch.delitem(sys.modules, module, raising=False)
        for name in (library, f'{library}.decoders'):
            monkeypatch.setitem(sys.modules, name, None)
        video_file._import.cache_clear()

    yield take_away
    video_file._import.cache_clear()


@pytest.mark.parametrize('library', ['decord', 'torchcodec'])
def test_missing_reader_is_an_error_with_install_advice(path, without, library):
    without(library)
    message = (
        rf'{library} cannot read videos here: .*\. Use another `reader`, or install it: .*install'
    )
    with pytest.raises(EnvironmentFault, match=message):
        open_video(path, library)


def test_auto_works_without_optional_readers(path, without, reference_of):
    without('decord')
    without('torchcodec')
    with open_video(path) as video:
        (frame,) = video.frames([5])
    assert reference_of(path).number_of(frame) == 5


def test_auto_tries_every_other_reader():
    assert READERS[0] == 'auto'
    assert set(READERS[1:]) == {'decord', 'torchcodec', 'pyav'}


@pytest.mark.parametrize('turn', itertools.product([False, True], repeat=3))
@pytest.mark.parametrize('shape', [(4, 1, 3), (1, 4, 3), (1, 1, 3)])
def test_rotated_frame_of_one_pixel_width_becomes_a_tensor(shape, turn):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    turned = torch.from_numpy(Turn(*turn).apply(pixels))
    assert sorted(turned.flatten().tolist()) == sorted(pixels.flatten().tolist())
