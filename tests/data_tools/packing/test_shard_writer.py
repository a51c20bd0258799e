# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Shards get their names when they are complete, and refuse what readers would take for something else."""

import pytest

from vicmae.data_tools.packing.shard_writer import write_shard


def test_same_samples_give_the_same_bytes(tmp_path):
    for name in 'ab':
        with write_shard(str(tmp_path / name)) as shard:
            shard.add('1', {'jpg': b'x'}, dict(label=1))
    for suffix in ('', '.index'):
        assert (tmp_path / f'a{suffix}').read_bytes() == (tmp_path / f'b{suffix}').read_bytes()


def test_error_leaves_nothing_behind(tmp_path):
    def break_down():
        with write_shard(str(tmp_path / 'a.tar')) as shard:
            shard.add('1', {'jpg': b'x'})
            raise RuntimeError('midway')

    with pytest.raises(RuntimeError, match='midway'):
        break_down()
    assert list(tmp_path.iterdir()) == []


def test_unfinished_shard_has_a_temporary_name(tmp_path):
    with write_shard(str(tmp_path / 'a.tar')) as shard:
        shard.add('1', {'jpg': b'x'})
        assert [path.name for path in tmp_path.iterdir()] == ['a.tar.unfinished']
        assert (len(shard), shard.num_bytes) == (1, 1024)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.tar', 'a.tar.index']


@pytest.mark.parametrize(
    ('key', 'extension', 'message'),
    [
        *((key, 'jpg', 'is no key') for key in ('', 'a.b', 'a/', '/a', '.a', '__a__', 'a/.b')),
        ('first', 'png', "has a sample 'first' already"),
        ('a', 'JPG', "'JPG' must be in lower case"),
    ],
)
def test_name_that_readers_would_change_or_mix_up_is_refused(tmp_path, key, extension, message):
    with write_shard(str(tmp_path / 'a.tar')) as shard:
        shard.add('first', {'jpg': b'x'})
        with pytest.raises(ValueError, match=message):
            shard.add(key, {extension: b'x'})
