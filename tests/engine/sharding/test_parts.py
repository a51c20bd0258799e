# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Folders that are no whole checkpoint. What whole ones hold is in tests/distributed/test_sharded_state.py."""

from itertools import pairwise

import pytest
import torch

from vicmae.checkpoints.read import load_checkpoint_file, require_whole
from vicmae.engine.sharding import save_parts
from vicmae.errors import CheckpointError, TornCheckpointError
from vicmae.utils.checkpoint_parts import gather_parts, gather_to_file

WHOLE = torch.arange(10.0).view(5, 2)


def write_by_hand(folder, begins=(0, 3, 5), save='abc', world_size=2, key='weight'):
    """Parts as ranks write them."""
    folder.mkdir(exist_ok=True)
    for rank, (begin, end) in enumerate(pairwise(begins)):
        shard = dict(
            path=['state_dict', key], rows=WHOLE[begin:end].clone(), first_row=begin, shape=[5, 2]
        )
        part = dict(save=save, shards=[shard])
        if rank == 0:
            part['rest'] = dict(meta=dict(iter=3), state_dict={key: None, 'buffer': torch.ones(2)})
        torch.save(part, folder / f'part_{rank}_of_{world_size}.pth')
    return folder


def test_layout_is_that_of_the_module_docstring(tmp_path):
    gathered = gather_parts(write_by_hand(tmp_path / 'a'))
    assert list(gathered['state_dict']) == ['weight', 'buffer']
    assert torch.equal(gathered['state_dict']['weight'], WHOLE)
    assert gathered['meta'] == dict(iter=3)


def test_checkpoint_of_one_process_is_one_part(tmp_path):
    save_parts(tmp_path / 'a', dict(state_dict=dict(weight=WHOLE), meta=dict(iter=3)))
    assert [p.name for p in (tmp_path / 'a').glob('*.pth')] == ['part_0_of_1.pth']
    gathered = gather_parts(tmp_path / 'a')
    assert torch.equal(gathered['state_dict']['weight'], WHOLE)
    assert gathered['meta'] == dict(iter=3)


def test_missing_parts_are_named(tmp_path):
    write_by_hand(tmp_path, world_size=4)
    with pytest.raises(CheckpointError, match=r'lacks part_2_of_4.pth, part_3_of_4.pth: a run was'):
        gather_parts(tmp_path)


@pytest.mark.parametrize('name', ['', 'not/there', 'file'])
def test_what_has_no_parts_is_refused(tmp_path, name):
    (tmp_path / 'file').touch()
    with pytest.raises(CheckpointError, match=r"' is no sharded checkpoint: there is no part_0_of"):
        gather_parts(tmp_path / name)


def test_parts_of_runs_of_two_sizes_are_refused(tmp_path):
    write_by_hand(tmp_path)
    write_by_hand(tmp_path, world_size=3)
    with pytest.raises(CheckpointError, match=r'has parts of runs of 2 and of 3 processes'):
        gather_parts(tmp_path)


def test_parts_of_two_checkpoints_are_refused(tmp_path):
    new = write_by_hand(tmp_path / 'new', save='new')
    (new / 'part_1_of_2.pth').rename(tmp_path / 'kept')
    write_by_hand(new, save='old')
    (tmp_path / 'kept').rename(new / 'part_1_of_2.pth')
    with pytest.raises(CheckpointError, match=r"new' has parts of different checkpoints"):
        gather_parts(new)


@pytest.mark.parametrize('begins', [(0, 3, 4), (0, 2, 5)])
def test_rows_that_leave_gaps_are_refused(tmp_path, begins):
    write_by_hand(tmp_path, begins=begins)
    if begins == (0, 2, 5):  # of which the second says that it begins elsewhere
        part = torch.load(tmp_path / 'part_1_of_2.pth', weights_only=True)
        part['shards'][0]['first_row'] = 3
        torch.save(part, tmp_path / 'part_1_of_2.pth')
    with pytest.raises(
        CheckpointError, match=r"don't fit together at `state_dict.weight`: rows \["
    ):
        gather_parts(tmp_path)


def test_parts_with_other_tensors_are_refused(tmp_path):
    write_by_hand(tmp_path)
    part = torch.load(tmp_path / 'part_1_of_2.pth', weights_only=True)
    for shards in ([], [{**part['shards'][0], 'path': ['state_dict', 'other']}]):
        torch.save({**part, 'shards': shards}, tmp_path / 'part_1_of_2.pth')
        with pytest.raises(CheckpointError, match=r"don't fit together: they are of different"):
            gather_parts(tmp_path)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 torn', None])
def test_torn_part_is_named(tmp_path, content):
    write_by_hand(tmp_path)
    path = tmp_path / 'part_1_of_2.pth'
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    with pytest.raises(TornCheckpointError, match=r"part_1_of_2.pth' is no PyTorch checkpoint, or"):
        gather_parts(tmp_path)


def test_changed_part_is_noticed(tmp_path):
    save_parts(tmp_path / 'a.sharded', dict(state_dict=dict(weight=torch.full((9,), 3.0))))
    part = tmp_path / 'a.sharded/part_0_of_1.pth'
    content = bytearray(part.read_bytes())
    content[content.index(torch.full((9,), 3.0).numpy().tobytes())] ^= 1
    part.write_bytes(content)
    for read in (require_whole, load_checkpoint_file):
        with pytest.raises(TornCheckpointError, match="part_0_of_1.pth' is torn or was changed"):
            read(tmp_path / 'a.sharded')


def test_part_that_can_not_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    save_parts(tmp_path, dict(state_dict=dict(weight=WHOLE)))

    def fail(content, file):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(CheckpointError, match=r"part_0_of_1.pth': No space left"):
        save_parts(tmp_path, dict(state_dict=dict(weight=WHOLE + 1)))
    assert [p.name for p in tmp_path.glob('*.pth')] == ['part_0_of_1.pth']
    assert not list(tmp_path.glob('*.unfinished'))
    assert torch.equal(gather_parts(tmp_path)['state_dict']['weight'], WHOLE)


def test_file_is_written_over_only_by_force(tmp_path):
    folder, out = write_by_hand(tmp_path / 'a.sharded'), tmp_path / 'new/a.pth'
    gather_to_file(folder, out)
    with pytest.raises(CheckpointError, match=r"Can't write '.*a.pth': it is there already"):
        gather_to_file(folder, out)
    gather_to_file(folder, out, force=True)
    with pytest.raises(CheckpointError, match=r'it is there already'):
        gather_to_file(folder, tmp_path, force=True)
    assert torch.equal(torch.load(out, weights_only=True)['state_dict']['weight'], WHOLE)
