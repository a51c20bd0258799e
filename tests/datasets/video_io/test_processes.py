# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Readers in the workers of a loader, and what they leave behind."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, DataLoader

from vicmae.datasets import VideoFolder
from vicmae.datasets.video_io import READERS, open_video
from vicmae.errors import DataError

MIB = 2**20


@pytest.fixture(scope='module')
def path(demo_data):
    return str(sorted((demo_data / 'videos/train').rglob('*.mp4'))[0])


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_workers_read_as_their_parent_does(path, context):
    steps = [dict(type='UniformFrames', num_frames=3), dict(type='DecodeFrames')]
    folder = str(Path(path).parent)
    folders = ConcatDataset(
        [
            VideoFolder(folder, pipeline=[dict(type='OpenVideo', reader=name), *steps])
            for name in READERS
        ]
    )
    held = [open_video(path, name) for name in READERS]  # while the workers start
    expected = [[frame.tobytes() for frame in sample['frames']] for sample in folders]
    loader = DataLoader(
        folders, batch_size=None, num_workers=1, multiprocessing_context=context, timeout=120
    )
    found = [[np.asarray(frame).tobytes() for frame in sample['frames']] for sample in loader]
    assert found == expected
    assert all(len(video.frames([1])) == 1 for video in held)


@pytest.mark.parametrize('reader', READERS[1:], indirect=True)
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc')
def test_memory_and_files_stay_flat_over_a_thousand_openings(path, reader):
    def read_often(times):
        for _ in range(times):
            with open_video(path, reader) as video:
                video.frames([20])

    read_often(100)
    before = resident(), open_files()
    read_often(1000)
    after = resident(), open_files()
    assert after[0] - before[0] < 4 * MIB
    assert after[1] <= before[1]


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc')
def test_memory_and_files_stay_flat_over_bad_files(path, reader, tmp_path):
    damaged = tmp_path / 'damaged.mp4'
    content = Path(path).read_bytes()
    middle = content.index(b'mdat') + 2000
    damaged.write_bytes(content[:middle] + bytes(4000) + content[middle + 4000 :])
    short = tmp_path / 'short.mp4'
    short.write_bytes(content[:500])

    def fail_often(times):
        for _ in range(times):
            with pytest.raises(DataError):
                open_video(str(short), reader)
            with pytest.raises(DataError), open_video(str(damaged), reader) as video:
                video.frames(range(video.num_frames))

    gc.collect()
    gc.disable()  # nothing waits for it to be let go
    try:
        fail_often(30)
        before = resident(), open_files()
        fail_often(100)
        after = resident(), open_files()
    finally:
        gc.enable()
    assert after[0] - before[0] < 4 * MIB
    assert after[1] <= before[1]


def resident():
    """Bytes of memory that this process holds."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def open_files():
    return len(os.listdir('/proc/self/fd'))
