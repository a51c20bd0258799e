# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook

from vicmae.registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds each training step by (seed, iteration, rank).

    Draws on the device (drop path; masks of a batch without seeds) are then the same after a resume as without one.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        torch.manual_seed(seed_of_step(runner.seed, runner.iter, runner.rank))


def seed_of_step(seed: int, iteration: int, rank: int) -> int:
    """Returns the seed of one rank's training step."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])
