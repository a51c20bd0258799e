# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os

import pytest

from vicmae.data_tools.find_source import find_source
from vicmae.data_tools.packing.shard_writer import write_shard
from vicmae.datasets import FrameFolder, ImageFolder, ImageShards, VideoFolder, VideoShards
from vicmae.errors import ConfigError, DataError


@pytest.fixture(scope='module')
def place(demo_data, tmp_path_factory):
    """Files of all kinds."""
    root = tmp_path_factory.mktemp('place')
    for kind in ('images', 'videos'):
        os.symlink(demo_data / kind / 'val', root / kind)
    (root / 'shards').mkdir()
    for name, extension in [('i-0', 'png'), ('v-0', 'mp4'), ('v-1', 'avi')]:
        with write_shard(str(root / f'shards/{name}.tar')) as shard:
            shard.add('0', {extension: b'x'})
    images = sorted((root / 'images').rglob('*.jpg'))
    (root / 'list.txt').write_text(''.join(f'{p.relative_to(root / "images")} 1\n' for p in images))
    (root / 'clips').write_text(f'{next((root / "videos").rglob("*.mp4"))}\n\n')
    for video in ('run/1', 'run/2'):
        (root / 'frames' / video).mkdir(parents=True)
        for number in range(3):
            os.link(images[number], root / 'frames' / video / f'{number}.jpg')
    return root


def test_folder_list_and_shards_are_known_by_what_is_in_them(place):
    for name, expected, length in [
        ('images', ImageFolder, 16),
        ('videos', VideoFolder, 8),
        ('clips', VideoFolder, 1),
        ('shards/i-0.tar', ImageShards, 1),
        ('shards/v-*.tar', VideoShards, 2),
        ('shards/v-{0..1}.tar', VideoShards, 2),
    ]:
        found = find_source(str(place / name))
        assert (type(found), len(found)) == (expected, length)


def test_paths_in_a_list_are_relative_to_the_data_root_or_to_the_list(place, tmp_path):
    found = find_source(str(place / 'list.txt'), data_root=str(place / 'images'))
    assert len(found) == 16
    assert os.path.isfile(found.get_data_info(0)['path'])
    assert found.get_data_info(0)['gt_label'] == 1
    with pytest.raises(DataError, match='none of the 16 files that were looked for exists'):
        find_source(str(place / 'list.txt'))
    (place / 'images/list.txt').write_text((place / 'list.txt').read_text())
    assert len(find_source(str(place / 'images/list.txt'))) == 16


def test_rate_makes_folders_of_images_videos(place):
    found = find_source(str(place / 'frames'), source_fps=8)
    assert (type(found), len(found), found.fps) == (FrameFolder, 2, 8)


def test_kind_selects_images_or_videos(place):
    for name, image, video in [
        ('.', ImageFolder, VideoFolder),
        ('shards', ImageShards, VideoShards),
    ]:
        with pytest.raises(DataError, match=r'both images and videos.*--kind'):
            find_source(str(place / name))
        assert type(find_source(str(place / name), 'image')) is image
        assert type(find_source(str(place / name), 'video')) is video


def test_path_without_data_is_an_error(place, tmp_path):
    with pytest.raises(DataError, match="There is no folder or list '/no/where'"):
        find_source('/no/where')
    (tmp_path / 'notes.txt').write_text('hello')
    for name in ('', 'notes.txt'):
        with pytest.raises(DataError, match='There are no images, videos or tar shards in'):
            find_source(str(tmp_path / name))
    with pytest.raises(ConfigError, match='`data_root` is for the paths in a list file'):
        find_source(str(place / 'images'), data_root='/data')
