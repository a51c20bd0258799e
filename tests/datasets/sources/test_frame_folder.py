# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Videos that are folders of images."""

import numpy as np
import pytest
from PIL import Image

from vicmae.datasets import FrameFolder, SampleKey
from vicmae.errors import DataError
from vicmae.structures import NO_LABEL

FRAMES = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]


def make_video(folder, levels, name='img_{:05d}.png'):
    """A folder whose frames are gray pictures; their names count from 1."""
    folder.mkdir(parents=True)
    for number, level in enumerate(levels, start=1):
        Image.new('RGB', (8, 6), (level,) * 3).save(folder / name.format(number))


def levels_of(source, index):
    """The gray level of each frame."""
    with source.get_data_info(index)['media'] as reader:
        return [int(frame[0, 0, 0]) for frame in reader.frames(range(reader.num_frames))]


def found(source):
    infos = [source.get_data_info(i) for i in range(len(source))]
    return [(i['path'].removeprefix(source.data_root + '/'), i['gt_label']) for i in infos]


def test_folders_of_folders_are_classes(tmp_path):
    make_video(tmp_path / 'bee/b', [30, 40, 50])
    make_video(tmp_path / 'bee/2019/a', [30])
    make_video(tmp_path / 'ant/z', [10, 20])
    source = FrameFolder(str(tmp_path), fps=5)
    assert found(source) == [('ant/z', 0), ('bee/2019/a', 1), ('bee/b', 1)]
    assert source.metainfo['classes'] == ('ant', 'bee')
    assert source.get_data_info(0)['class_name'] == 'ant'
    assert [levels_of(source, i) for i in range(3)] == [[10, 20], [30], [30, 40, 50]]


def test_folders_of_frames_alone_have_no_labels(tmp_path):
    make_video(tmp_path / 'b', [1])
    make_video(tmp_path / 'a', [2])
    (tmp_path / 'sheet.png').touch()
    source = FrameFolder(str(tmp_path), fps=5)
    assert found(source) == [('a', NO_LABEL), ('b', NO_LABEL)]
    assert 'classes' not in source.metainfo


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    make_video(tmp_path / 'a', range(1, 13), name='frame{}.png')
    assert levels_of(FrameFolder(str(tmp_path), fps=5), 0) == list(range(1, 13))


def test_only_the_frames_that_the_pattern_names_are_taken(tmp_path):
    make_video(tmp_path / 'a/x', [10, 20])
    for name in ('flow_x_00001.png', 'notes.txt', '.img_00000.png'):
        (tmp_path / 'a/x' / name).write_bytes(b'no frame')
    make_video(tmp_path / 'a/covers', [1], name='cover_{}.png')
    source = FrameFolder(str(tmp_path), fps=5, pattern='img_*')
    assert found(source) == [('a/x', 0)]
    assert levels_of(source, 0) == [10, 20]


def test_list_gives_labels_and_the_number_of_frames(tmp_path):
    make_video(tmp_path / 'my clips/x', [1, 2, 3])
    make_video(tmp_path / 'y', [4, 5, 6])
    (tmp_path / 'list.txt').write_text('my clips/x 2 7\ny\n\ny\t3\nmy clips/x  3   0\n')
    source = FrameFolder(str(tmp_path), 'list.txt', fps=5)
    assert found(source) == [('my clips/x', 7), ('y', NO_LABEL), ('y', 3), ('my clips/x', 0)]
    assert [levels_of(source, i) for i in range(4)] == [[1, 2], [4, 5, 6], [4, 5, 6], [1, 2, 3]]
    assert 'num_frames' not in source.get_data_info(0)


def test_folder_with_fewer_frames_than_listed_is_an_error_of_its_sample(tmp_path):
    make_video(tmp_path / 'x', [1, 2, 3])
    (tmp_path / 'list.txt').write_text('x 4 0\nx 0 1\n')
    source = FrameFolder(str(tmp_path), 'list.txt', fps=5)
    with pytest.raises(DataError, match=r"/x' has 3 frames .*its list says 4\."):
        source.get_data_info(0)
    with pytest.raises(DataError, match=r"/x' has no frames"):
        source.get_data_info(1)


def test_missing_folder_or_one_without_frames_is_an_error_of_its_sample(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'list.txt').write_text('empty\n')
    source = FrameFolder(str(tmp_path), 'list.txt', fps=5)
    with pytest.raises(DataError, match=r"/empty' has 0 frames"):
        source.get_data_info(0)
    (tmp_path / 'empty').rmdir()
    with pytest.raises(DataError, match=r"Can't read the folder '.*/empty': No such file"):
        source.get_data_info(0)


def test_damaged_frame_is_named(tmp_path):
    make_video(tmp_path / 'x', [1, 2])
    (tmp_path / 'x/img_00002.png').write_bytes(b'')
    with pytest.raises(DataError, match=r"Can't read the image '.*/x/img_00002\.png'"):
        levels_of(FrameFolder(str(tmp_path), fps=5), 0)


def test_error_of_a_folder_without_videos_says_what_is_expected(tmp_path):
    make_video(tmp_path / 'x', [1])
    with pytest.raises(DataError, match=r"No videos under '.*/x': .* folders with images '\*' in"):
        FrameFolder(str(tmp_path / 'x'), fps=5)


@pytest.mark.parametrize('fps', [0, -1, float('nan'), float('inf')])
def test_impossible_fps_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match=f'`fps` must be a positive number, got {fps}'):
        FrameFolder(str(tmp_path), fps=fps)


def test_frames_go_through_the_pipeline_of_videos(tmp_path):
    make_video(tmp_path / 'x', range(0, 200, 10))
    sample = FrameFolder(str(tmp_path), fps=5, pipeline=FRAMES)[SampleKey(0, 0, 0)]
    assert (sample['kind'], sample['fps'], sample['num_frames']) == ('video', 5, 20)
    assert [int(np.unique(frame)[0]) for frame in sample['frames']] == [
        10 * id_ for id_ in sample['frame_ids']
    ]


def test_gap_longer_than_any_folder_is_refused(tmp_path):
    make_video(tmp_path / 'x', [1, 2, 3])
    steps = [dict(type='OpenVideo'), dict(type='FixedGapFramePair', gap=0.6, unit='second')]
    with pytest.raises(DataError, match=r"longest, '.*/x', has 3 frames and would need 4"):
        FrameFolder(str(tmp_path), fps=5, pipeline=steps)
    assert len(FrameFolder(str(tmp_path), fps=3, pipeline=steps)) == 1
