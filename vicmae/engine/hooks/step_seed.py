# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from torch import nn

from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds each training step by (seed, iteration, rank).

    Draws on the device (drop path; masks of a batch without seeds) are then the same after a resume as without one.
    What all ranks draw alike (the directions of `SIGRegLoss`) depends on (seed, iteration).
    """

    priority = 'VERY_HIGH'
    _sharing: Iterable[Any] = ()
    _first_seed = 0

    def before_train(self, runner: Any) -> None:
        """Finds the modules that draw the same on all ranks, and the seed of rank 0."""
        self._sharing = modules_with_shared_seed(unwrapped(runner.model))
        # With `randomness.diff_rank_seed`, each rank has its own `runner.seed`.
        seeds = [runner.seed]
        broadcast_object_list(seeds)
        (self._first_seed,) = seeds

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        torch.manual_seed(seed_of_step(runner.seed, runner.iter, runner.rank))
        for module in self._sharing:
            module.shared_seed = self.shared_seed(runner)

    def shared_seed(self, runner: Any) -> int:
        """Returns the seed of the current step that all ranks share."""
        return seed_of_step(self._first_seed, runner.iter, rank=0)


def seed_of_step(seed: int, iteration: int, rank: int) -> int:
    """Returns the seed of one rank's training step."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])


def modules_with_shared_seed(model: nn.Module) -> list[Any]:
    """Returns the modules that draw the same on all ranks, from their attribute `shared_seed`."""
    return [module for module in model.modules() if 'shared_seed' in vars(module)]
