# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import torch
from torch import nn

from vicmae.engine.hooks import StepSeedHook
from vicmae.models.losses import SIGRegLoss
from vicmae.utils.distributed import rank_and_world_size


def draw(seed, iteration, rank):
    StepSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration, rank=rank), 0)
    return torch.rand(3).tolist()


def test_random_numbers_of_a_step_depend_only_on_seed_iteration_and_rank():
    expected = draw(7, 100, 1)
    torch.rand(5)
    assert draw(7, 100, 1) == expected
    others = [draw(8, 100, 1), draw(7, 101, 1), draw(7, 100, 0), draw(7, 1, 100)]
    assert all(other != expected for other in others)


def directions_of_step(seed, iteration, rank):
    """The directions that a loss inside a model draws in a step."""
    model = nn.Sequential(nn.Linear(2, 2), SIGRegLoss(num_slices=3))
    runner = SimpleNamespace(seed=seed, iter=iteration, rank=rank, model=model)
    hook = StepSeedHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    return model[1].next_directions(torch.empty(2)).tolist()


def directions_of_rank():
    """The directions of a step on this rank of a run, whose ranks have different seeds (`diff_rank_seed`)."""
    rank, _ = rank_and_world_size()
    return directions_of_step(7 + rank, 100, rank)


def test_ranks_with_different_seeds_share_the_draws_of_the_first(gloo_pool):
    first, second = gloo_pool.run(directions_of_rank, 2)
    assert first == second == directions_of_step(7, 100, 0)


def test_shared_draws_of_a_step_depend_only_on_seed_and_iteration():
    expected = directions_of_step(7, 100, 0)
    assert directions_of_step(7, 100, 1) == expected
    assert expected not in [directions_of_step(8, 100, 0), directions_of_step(7, 101, 0)]
