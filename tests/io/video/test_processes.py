# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Readers in the workers of a loader: equal frames, and no leak of memory or files."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, DataLoader

from vicmae.datasets import VideoFolder
from vicmae.errors import DataError
from vicmae.io.video import READERS, open_video
from vicmae.testing import write_clip

from .open_often import open_files, own_memory

MIB = 2**20


@pytest.fixture(scope='module')
def path(demo_data):
    return str(sorted((demo_data / 'videos/train').rglob('*.mp4'))[0])


@pytest.mark.parametrize('context', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_read_the_same_frames_as_their_parent(path, context):
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


@pytest.fixture(scope='module')
def tiny_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('tiny') / 'tiny.mp4'
    write_clip(path)
    return str(path)


# torchcodec itself keeps 0.9 kB of each file, and its threads up to 4 MB.
@pytest.mark.slow
@pytest.mark.parametrize(
    ('reader', 'allowed'), [('pyav', 2), ('decord', 2), ('torchcodec', 10)], indirect=['reader']
)
@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc')
def test_memory_and_files_of_a_fresh_process_stay_flat_over_three_thousand_openings(
    tiny_clip, reader, allowed
):
    # Not in a fork of pytest: that also counts the pages of its parent that it touches.
    script = Path(__file__).with_name('open_often.py')
    run = subprocess.run(
        [sys.executable, script, tiny_clip, reader], stdout=subprocess.PIPE, check=True, timeout=300
    )
    before, after = map(json.loads, run.stdout.splitlines())
    assert after[0] - before[0] < allowed * MIB
    assert after[1] <= before[1]


@pytest.mark.slow
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
        before = own_memory(), open_files()
        fail_often(100)
        after = own_memory(), open_files()
    finally:
        gc.enable()
    assert after[0] - before[0] < 4 * MIB
    assert after[1] <= before[1]
