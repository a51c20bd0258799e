# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Shards and their indexes: writing, tar files of other programs, and damaged files."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset

from vicmae.data_tools.packing.shard_writer import frame_members, write_shard
from vicmae.errors import DataError
from vicmae.io.shards.index import (
    build_index,
    index_path,
    read_index,
    read_summary,
    split_name,
)

FRAMES = [b'first', b'second', b'third']


def content(shard, member):
    with open(shard, 'rb') as file:
        return os.pread(file.fileno(), member.size, member.offset)


def samples_of(shard, index):
    """Reads samples by an index: key -> extension -> bytes."""
    return {
        index.key(i): {member.extension: content(shard, member) for member in index.members(i)}
        for i in range(len(index))
    }


def samples_by_webdataset(shard):
    """Reads samples by the reference implementation, webdataset."""
    return {
        sample['__key__']: {k: v for k, v in sample.items() if not k.startswith('__')}
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False)
    }


def write_tar(path, members, **options):
    """Writes a tar file like other programs, from (name, content)."""
    with tarfile.open(path, 'w', **options) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return str(path)


def assert_same(first, second):
    for name in ('tar_size', 'extensions', 'class_names'):
        assert getattr(first, name) == getattr(second, name)
    for name in first.arrays:
        assert np.array_equal(first.arrays[name], second.arrays[name]), name


@pytest.fixture
def shard(tmp_path):
    """One sample of each kind."""
    path = str(tmp_path / 'a.tar')
    with write_shard(path) as shard:
        shard.add(
            'ant/1', {'jpg': b'picture' * 100}, dict(label=3, class_name='ant', path='x/1.jpg')
        )
        shard.add(
            'bee.d/2', {'mp4': b'film' * 500, 'jpg': b'cover'}, dict(label=0, class_name='bee')
        )
        shard.add('frames', frame_members(FRAMES), dict(fps=12.5))
        shard.add('words', {'txt': 'ü'.encode()})
    return path


# ------------------------------------------------------------------------- writing
def test_index_finds_written_samples(shard):
    index = read_index(index_path(shard))
    assert [index.kind(i) for i in range(4)] == ['image', 'video', 'frames', 'other']
    media = [[content(shard, member) for member in index.media(i)] for i in range(4)]
    assert media == [[b'picture' * 100], [b'film' * 500], FRAMES, []]
    assert [index.key(i) for i in range(4)] == ['ant/1', 'bee.d/2', 'frames', 'words']
    assert index.arrays['labels'].tolist() == [3, 0, -1, -1]
    assert index.arrays['fps'].tolist() == [0, 0, 12.5, 0]
    assert index.class_names == {0: 'bee', 3: 'ant'}
    assert json.loads(samples_of(shard, index)['ant/1']['json'])['path'] == 'x/1.jpg'
    assert index.samples_of(('video', 'frames')).tolist() == [1, 2]

    counts = dict(other=1, image=1, video=1, frames=1)
    assert read_summary(index_path(shard)) == (os.path.getsize(shard), counts, index.class_names)


def test_written_index_equals_the_one_built_from_the_shard(shard):
    assert_same(read_index(index_path(shard)), build_index(shard))


def test_webdataset_reads_what_was_written(shard):
    read, index = samples_by_webdataset(shard), read_index(index_path(shard))
    assert list(read) == [index.key(i) for i in range(len(index))]
    assert read == samples_of(shard, index)


# ------------------------------------------------------------------------- tar files of others
def test_shards_by_webdataset_are_indexed(tmp_path):
    path = str(tmp_path / 'a.tar')
    with webdataset.TarWriter(path) as writer:
        writer.write({'__key__': 'x/000', 'jpg': b'1', 'cls': 7})
        writer.write({'__key__': 'x/001', 'png': b'2', 'json': dict(label=2, class_name='bee')})
        writer.write({'__key__': 'x/002', 'mp4': b'3', 'txt': 'words'})
        writer.write({'__key__': 'x/003', '0001.jpg': b'5', '0000.jpg': b'4', 'json': dict(fps=5)})
    index = build_index(path)
    assert samples_of(path, index) == samples_by_webdataset(path)
    assert [index.kind(i) for i in range(4)] == ['image', 'image', 'video', 'frames']
    assert index.arrays['labels'].tolist() == [7, 2, -1, -1]
    assert [content(path, member) for member in index.media(3)] == [b'4', b'5']


MEMBERS = [
    ('a/1.jpg', b'1'),
    ('a/1.JSON', b'{"label": 4}'),
    ('a/2.seg.png', b'no picture of its own'),
    ('a/2.jpg', b'2'),
    ('__meta__/3.jpg', b'left out'),
    ('__meta__', b'left out'),
    ('._a.jpg', b'hidden'),
    ('README', b'no extension'),
    ('b.d/1.jpg', b'folder with a dot'),
    ('b.d/' + 'long' * 60 + '.jpg', b'long name'),
    ('ü/漢.jpg', b'letters'),
    ('a/1.jpg', b'the same key, later'),
    ('empty.jpg', b''),
]


@pytest.mark.parametrize('form', ['PAX_FORMAT', 'GNU_FORMAT'])
def test_samples_equal_those_of_webdataset_for_any_member_names(tmp_path, form):
    path = write_tar(tmp_path / 'a.tar', MEMBERS, format=getattr(tarfile, form))
    index = build_index(path)
    found = [
        (index.key(i), {m.extension: content(path, m) for m in index.members(i)})
        for i in range(len(index))
    ]
    reference = [
        (sample['__key__'], {k: v for k, v in sample.items() if not k.startswith('__')})
        for sample in webdataset.WebDataset(path, shardshuffle=False)
    ]
    assert found == reference
    assert len(found) == 7
    assert [member.extension for member in index.media(1)] == ['jpg']


def test_links_and_folders_are_not_samples(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name, kind in (('a.jpg', tarfile.SYMTYPE), ('b.jpg', tarfile.DIRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
    assert len(build_index(str(tmp_path / 'a.tar'))) == 0


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    order = [10, 9, 100, 1]
    path = write_tar(tmp_path / 'a.tar', [(f'a.{n}.png', str(n).encode()) for n in order])
    index = build_index(path)
    assert [content(path, member) for member in index.media(0)] == [b'1', b'9', b'10', b'100']


NOTES = ('{"label": -1}', '{"label": true}', '{"label": "ant"}', '{"fps": -3}', '{"fps": "x"}')


@pytest.mark.parametrize('note', [*NOTES, '[', '3.5'])
def test_invalid_json_is_ignored(tmp_path, note):
    path = write_tar(tmp_path / 'a.tar', [('a.jpg', b'x'), ('a.json', note.encode())])
    index = build_index(path)
    assert (index.arrays['labels'][0], index.arrays['fps'][0]) == (-1, 0)


def test_names_are_split_at_the_first_dot_of_the_file():
    assert split_name('a.b/c.0001.JPG') == ('a.b/c', '0001.jpg')
    assert split_name('a/.hidden') == split_name('a/b') == ('', '')


# ------------------------------------------------------------------------- damaged files
def test_truncated_shard_is_refused(tmp_path, shard):
    whole = Path(shard).read_bytes()
    with tarfile.open(shard) as tar:
        ends = {entry.offset_data + -(-entry.size // 512) * 512 for entry in tar}
    for size in range(0, max(ends), 100):
        (tmp_path / 'cut.tar').write_bytes(whole[:size])
        if size not in ends:
            with pytest.raises(DataError, match=r"Can't read the shard '.*cut\.tar'"):
                build_index(str(tmp_path / 'cut.tar'))


def test_damaged_header_is_not_the_end_of_the_shard(tmp_path):
    path = write_tar(tmp_path / 'a.tar', [(f'{i}.jpg', b'x') for i in range(3)])
    with open(path, 'r+b') as file:
        file.seek(1024 + 5)
        file.write(b'\xff')
    with pytest.raises(DataError, match='it is damaged at byte 1024'):
        build_index(path)


def test_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('a.jpg'))
    with pytest.raises(DataError, match="A shard is a tar file that isn't compressed"):
        build_index(str(tmp_path / 'a.tar'))


def test_two_files_with_one_extension_are_refused(tmp_path):
    path = write_tar(tmp_path / 'a.tar', [('a.jpg', b'x'), ('a.JPG', b'y')])
    with pytest.raises(DataError, match="the sample 'a' has two files with the same extension"):
        build_index(path)


def test_truncated_or_invalid_index_is_refused(tmp_path, shard):
    whole = Path(index_path(shard)).read_bytes()
    path = tmp_path / 'cut.index'
    for damaged in [*(whole[:size] for size in range(0, len(whole), 50)), b'x' * 100, whole + b'x']:
        path.write_bytes(damaged)
        for read in (read_index, read_summary):
            with pytest.raises(DataError, match=r"Can't read the index '.*cut\.index'.* Delete it"):
                read(str(path))
    path.write_bytes(whole.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(DataError, match='its version is 2, not 1'):
        read_summary(str(path))
