# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How many iterations a budget pays for."""

import time
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vicmae.apis import count_flops

NUM_STEPS_NOT_TIMED, NUM_STEPS_TIMED = 4, 32


def count_step_flops(cfg: Config) -> float:
    """Counts the FLOPs of a training step, forward and backward: the mean over the sources, by their weights."""
    dataset = cfg.train_dataloader.dataset
    costs = count_flops(cfg)
    weights = {name: dataset.weights[name] for name in costs}
    mean = sum(weights[name] * (c.forward + c.backward) for name, c in costs.items())
    return cfg.train_dataloader.batch_size * mean / sum(weights.values())


class Clock(Hook):
    """Notes when each iteration ends."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.ends: list[float] = []

    def before_train(self, runner: Any) -> None:
        self.ends = [time.perf_counter()]

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def steps(self) -> int:
        """Number of iterations."""
        return len(self.ends) - 1

    @property
    def seconds(self) -> float:
        """Seconds of training, with the start of the workers."""
        return self.ends[-1] - self.ends[0]


def measure_step(runner: Runner) -> float:
    """Trains some steps, and returns the mean seconds of one."""
    clock = Clock()
    runner.register_hook(clock)
    runner.train()
    return float(np.diff(clock.ends)[NUM_STEPS_NOT_TIMED:].mean())
