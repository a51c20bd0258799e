# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""All ranks resume from the same checkpoint, or none does."""

import pytest
import torch.distributed as dist

from vicmae.checkpoints.write import write_checkpoint, write_text
from vicmae.engine.position import agree_on_last_checkpoint


def agree(*work_dirs):
    try:
        return agree_on_last_checkpoint(work_dirs[dist.get_rank()])
    except ValueError as error:
        return f'{type(error).__name__}: {error}'


@pytest.fixture
def run(tmp_path):
    (tmp_path / 'run').mkdir()
    write_checkpoint(tmp_path / 'run/iter_3.pth', {})
    write_text(tmp_path / 'run/last_checkpoint', str(tmp_path / 'run/iter_3.pth'))
    return tmp_path / 'run'


def test_all_ranks_use_the_checkpoint_of_the_first(gloo_pool, run, tmp_path):
    expected = str(run / 'iter_3.pth')
    assert gloo_pool.run(agree, 2, run, run) == [expected] * 2
    (tmp_path / 'empty').mkdir()
    assert gloo_pool.run(agree, 2, run, tmp_path / 'empty') == [expected] * 2
    assert gloo_pool.run(agree, 2, tmp_path / 'empty', run) == [None] * 2


def test_error_of_the_first_rank_is_raised_on_all(gloo_pool, run):
    (run / 'iter_3.pth').unlink()
    first, second = gloo_pool.run(agree, 2, run, run)
    assert first == second
    assert first.startswith('CheckpointError: ') and 'does not exist' in first


def hide_and_agree(work_dir, hidden):
    """As on a machine that has another disk of that name: this rank doesn't see the file."""
    if dist.get_rank() == 1:
        from vicmae.engine import position

        class Blind(type(hidden)):
            def exists(self, **_):
                return False

        position.Path = Blind
    try:
        return agree(work_dir, work_dir)
    finally:
        if dist.get_rank() == 1:
            position.Path = type(hidden)


def test_checkpoint_that_one_rank_does_not_see_is_refused_by_all(gloo_pool, run):
    for said in gloo_pool.run(hide_and_agree, 2, run, run):
        assert said.startswith('ConfigError: The checkpoint')
        assert 'is seen by 1 of 2 processes' in said
