# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import torch

from vicmae.engine.hooks import StepSeedHook


def draw(seed, iteration, rank):
    StepSeedHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration, rank=rank), 0)
    return torch.rand(3).tolist()


def test_random_numbers_of_a_step_depend_only_on_seed_iteration_and_rank():
    expected = draw(7, 100, 1)
    torch.rand(5)
    assert draw(7, 100, 1) == expected
    others = [draw(8, 100, 1), draw(7, 101, 1), draw(7, 100, 0), draw(7, 1, 100)]
    assert all(other != expected for other in others)
