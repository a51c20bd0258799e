# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os
import signal
import threading
import time

import pytest
import torch
import torch.distributed as dist

from vicmae.testing import GlooPool


def add_ranks(offset):
    total = torch.tensor(float(dist.get_rank() + offset))
    dist.all_reduce(total)
    return os.getpid(), dist.get_rank(), total.item()


def fail_on_rank_1():
    if dist.get_rank() == 1:
        raise ArithmeticError('rank 1 can not add')


def end_on_rank_1():
    if dist.get_rank() == 1:
        os._exit(3)


def fail_beside_one_that_waits():
    if dist.get_rank() == 1:
        raise ArithmeticError('rank 1 can not wait')
    time.sleep(3600)


def wait_forever():
    time.sleep(3600)


def test_ranks_are_separate_processes_that_communicate(gloo_pool):
    results = gloo_pool.run(add_ranks, 3, 10)
    assert [result[1:] for result in results] == [(0, 33.0), (1, 33.0), (2, 33.0)]
    assert len({os.getpid(), *(result[0] for result in results)}) == 4


def test_processes_are_reused_for_the_next_run(gloo_pool):
    first, second = (gloo_pool.run(add_ranks, 2, 0) for _ in range(2))
    assert [x[0] for x in first] == [x[0] for x in second]


def test_failure_has_the_traceback_of_the_rank_and_the_pool_continues(gloo_pool):
    with pytest.raises(RuntimeError, match=r'(?s)Rank 1:.*ArithmeticError: rank 1 can not add'):
        gloo_pool.run(fail_on_rank_1, 2)
    assert len(gloo_pool.run(add_ranks, 2, 0)) == 2


@pytest.mark.slow
def test_rank_that_ends_or_hangs_is_reported_and_replaced():
    with GlooPool(2) as pool:
        with pytest.raises(RuntimeError, match='Rank 1 of 2 ended without an answer'):
            pool.run(end_on_rank_1, 2)
        (first,) = pool.run(add_ranks, 1, 0)
        with pytest.raises(
            TimeoutError, match=r'(?s)Rank 0 of 1 gave no answer in 2 s.*in wait_forever'
        ):
            pool.run(wait_forever, 1, timeout=2)
        with pytest.raises(ProcessLookupError):
            os.kill(first[0], 0)


@pytest.mark.slow
def test_failure_is_reported_although_another_rank_hangs(monkeypatch):
    monkeypatch.setattr('vicmae.testing.gloo._SECONDS_AFTER_A_FAILURE', 0.5)
    with GlooPool(2) as pool:
        pool.run(add_ranks, 2, 0)
        with pytest.raises(
            RuntimeError,
            match=r'(?s)rank 1 can not wait.*Rank 0 waits:.*in fail_beside_one_that_waits',
        ):
            pool.run(fail_beside_one_that_waits, 2)
        assert len(pool.run(add_ranks, 2, 0)) == 2


@pytest.mark.slow
def test_ranks_that_fail_to_connect_are_restarted(monkeypatch):
    with GlooPool(2) as pool:
        first = [x[0] for x in pool.run(add_ranks, 2, 0)]
        os.kill(first[1], signal.SIGSTOP)  # it never comes to the meeting
        monkeypatch.setattr('vicmae.testing.gloo._SECONDS_TO_MEET', 2.0)
        kill = threading.Timer(2.5, os.kill, (first[1], signal.SIGKILL))
        kill.start()
        monkeypatch.setattr('vicmae.testing.gloo._ATTEMPTS_TO_MEET', 2)
        with pytest.warns(UserWarning, match='2 ranks did not connect in 2 s'):
            second = pool.run(add_ranks, 2, 0)
        assert [x[1:] for x in second] == [(0, 1.0), (1, 1.0)]
        assert not set(first) & {x[0] for x in second}


def test_invalid_numbers_of_ranks_are_refused(gloo_pool):
    with pytest.raises(ValueError, match='between 1 and the 4 processes of this pool, got 5'):
        gloo_pool.run(add_ranks, 5, 0)
    with pytest.raises(ValueError, match='`num_processes` must be at least 1, got 0'):
        GlooPool(0)
