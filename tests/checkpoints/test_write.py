# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints are written atomically, have plain values only, and the last intact one is found."""

import hashlib
import os
import shutil
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from vicmae.checkpoints.last import find_last_checkpoint
from vicmae.checkpoints.read import load_checkpoint_file
from vicmae.checkpoints.write import (
    as_plain,
    remove_checkpoint,
    restore_histories,
    write_checkpoint,
    write_text,
)
from vicmae.errors import CheckpointError, TornCheckpointError

from ..child import alone, limit_files


def write(path, number=0, last=None, age=0):
    """Writes a checkpoint. `last` is the work directory that names it, `age` is in seconds."""
    write_checkpoint(path, {'state_dict': {'weight': torch.full((100,), float(number))}})
    os.utime(path, ns=(10**18 - age * 10**9,) * 2)
    if last:
        write_text(last / 'last_checkpoint', str(path))
    return path


def tear(path, share=0.6):
    content = path.read_bytes()
    stat = path.stat()
    path.write_bytes(content[: int(len(content) * share)])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def change(path):
    """Flips one bit of a tensor, which the archive doesn't detect."""
    content = bytearray(path.read_bytes())
    stat = path.stat()
    content[content.index(np.float32(3).tobytes() * 5) + 8] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# ------------------------------------------------------------------------- writing
def test_checkpoint_has_the_hash_that_sha256sum_checks(tmp_path):
    path = write(tmp_path / 'a b.pth', 3)
    beside = tmp_path / 'a b.pth.sha256'
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert beside.read_text() == f'{digest}  a b.pth\n'
    done = subprocess.run(['sha256sum', '-c', beside.name], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a b.pth', 'a b.pth.sha256']


@alone
def test_failed_write_keeps_the_earlier_checkpoint(tmp_path):
    limit_files(10_000)
    path = write(tmp_path / 'last.pth', 1)
    before = path.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"last.pth': File too large. Earlier checkpoints are unchanged"
    ):
        write_checkpoint(path, {'weight': torch.zeros(10_000)})
    assert path.read_bytes() == before
    assert load_checkpoint_file(path)['state_dict']['weight'][0] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ['last.pth', 'last.pth.sha256']


def test_missing_folder_is_one_error(tmp_path):
    with pytest.raises(CheckpointError, match='No such file or directory. Earlier checkpoints'):
        write_checkpoint(tmp_path / 'gone/a.pth', {})


@pytest.mark.parametrize('kind', ['file', 'text'])
def test_interrupted_write_keeps_the_earlier_checkpoint(tmp_path, kind):
    path = tmp_path / 'last'
    write_text(path, 'before')

    class Interrupting:
        def encode(self):
            raise KeyboardInterrupt

        def __reduce__(self):
            raise KeyboardInterrupt

    content = Interrupting() if kind == 'text' else [torch.zeros(1000), Interrupting()]
    write = write_text if kind == 'text' else write_checkpoint
    with pytest.raises(KeyboardInterrupt):
        write(path, content)
    assert path.read_text() == 'before'
    assert [p.name for p in tmp_path.iterdir()] == ['last']


def test_removing_deletes_the_hash_and_ignores_missing_files(tmp_path):
    path = write(tmp_path / 'a.pth')
    remove_checkpoint(path)
    remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------- reading
@pytest.mark.parametrize('damage', [tear, change])
def test_corrupt_and_changed_checkpoints_are_refused(tmp_path, damage):
    path = write(tmp_path / 'a.pth', 3)
    damage(path)
    with pytest.raises(TornCheckpointError, match='truncated|corrupt'):
        load_checkpoint_file(path)


def test_checkpoint_without_a_hash_is_read(tmp_path):
    path = write(tmp_path / 'a.pth', 3)
    (tmp_path / 'a.pth.sha256').unlink()
    assert load_checkpoint_file(path)['state_dict']['weight'][0] == 3


# ------------------------------------------------------------------------- plain values
def test_plain_values_are_kept_and_share_no_memory():
    weight = torch.nn.Parameter(torch.ones(2))
    content = OrderedDict(
        a=weight, b=[1, (2.5, None, 'c')], d={1: torch.Size([3]), 2: torch.float32}
    )
    plain = as_plain(content)
    with torch.no_grad():
        weight.zero_()
    assert type(plain) is OrderedDict
    assert plain['a'].tolist() == [1, 1] and type(plain['a']) is torch.Tensor
    assert (plain['b'], plain['d']) == (content['b'], content['d'])


def test_numpy_values_become_pythons():
    plain = as_plain(dict(a=np.float64(0.1), b=np.arange(3), c=np.int64(7)))
    assert plain['a'] == 0.1 and type(plain['a']) is float
    assert plain['b'].tolist() == [0, 1, 2] and isinstance(plain['b'], torch.Tensor)
    assert type(plain['c']) is int


def test_objects_are_left_out_with_a_warning(tmp_path, log):
    plain = as_plain(dict(hub=dict(parts=[1, object()], good=2, bad=print)))
    assert plain == dict(hub=dict(parts=[1], good=2))
    write_checkpoint(tmp_path / 'a.pth', plain)
    assert load_checkpoint_file(tmp_path / 'a.pth') == plain
    assert [line.partition(',')[0] for line in log] == [
        '`hub.parts.1` is a object',
        '`hub.bad` is a builtin_function_or_method',
    ]


def test_log_histories_survive_bit_for_bit(tmp_path):
    history = HistoryBuffer([0.1, 1 / 3, float('nan')], [1, 2, 3], 10)
    checkpoint = dict(message_hub=dict(log_scalars=OrderedDict(loss=history), resumed_keys={}))
    write_checkpoint(tmp_path / 'a.pth', as_plain(checkpoint))
    read = load_checkpoint_file(tmp_path / 'a.pth')
    restore_histories(read)
    restored = read['message_hub']['log_scalars']['loss']
    for one, two in zip(history.data, restored.data, strict=True):
        assert one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == 'f')
    assert restored.max_length == 10


# ------------------------------------------------------------------------- finding
def test_last_checkpoint_is_the_named_one(tmp_path):
    write(tmp_path / 'iter_1.pth', age=3)
    named = write(tmp_path / 'iter_2.pth', last=tmp_path, age=2)
    write(tmp_path / 'iter_3.pth', age=1)  # written, but the run was killed before it was named
    write(tmp_path / 'best_iter_2.pth', age=0)
    assert find_last_checkpoint(tmp_path) == named


@pytest.mark.parametrize('damage', [tear, change, lambda path: path.write_bytes(b'')])
def test_previous_checkpoint_replaces_a_corrupt_one_with_a_warning(tmp_path, damage, log):
    write(tmp_path / 'iter_1.pth', 3, age=3)
    good = write(tmp_path / 'iter_2.pth', 3, age=2)
    damage(write(tmp_path / 'iter_3.pth', 3, last=tmp_path, age=1))
    os.utime(tmp_path / 'iter_3.pth', ns=(10**18 - 10**9,) * 2)
    assert find_last_checkpoint(tmp_path) == good
    assert len(log) == 1 and 'iter_3.pth' in log[0] and 'Trying the previous checkpoint' in log[0]


@pytest.mark.parametrize('content', [b'', bytes(9), b'\xff\xfe', b'iter_2.pth'])
def test_damaged_last_checkpoint_file_is_recovered(tmp_path, content):
    good = write(tmp_path / 'iter_2.pth', age=2)
    write(tmp_path / 'weights.pth', age=1)  # of no run
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert find_last_checkpoint(tmp_path) == good


def test_checkpoints_of_a_folder_that_was_moved_are_found(tmp_path):
    (tmp_path / 'old').mkdir()
    write(tmp_path / 'old/iter_2.pth', last=tmp_path / 'old')
    shutil.move(tmp_path / 'old', tmp_path / 'new')
    assert find_last_checkpoint(tmp_path / 'new') == tmp_path / 'new/iter_2.pth'


def test_run_without_a_checkpoint_has_none(tmp_path):
    assert find_last_checkpoint(tmp_path) is None
    assert find_last_checkpoint(tmp_path / 'no such folder') is None


def test_run_restarts_with_a_warning_if_all_checkpoints_are_corrupt(tmp_path, log):
    for number in (1, 2):
        tear(write(tmp_path / f'iter_{number}.pth', last=tmp_path))
    assert find_last_checkpoint(tmp_path) is None
    assert log[-1].startswith('None of the 2 checkpoints in')


def test_missing_named_checkpoint_without_another_is_an_error(tmp_path):
    remove_checkpoint(write(tmp_path / 'iter_2.pth', last=tmp_path))
    with pytest.raises(CheckpointError, match=r"names '.*iter_2.pth', which does not exist"):
        find_last_checkpoint(tmp_path)
