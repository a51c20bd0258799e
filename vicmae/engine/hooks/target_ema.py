# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

from mmengine.hooks import Hook

from vicmae.models.targets.teacher import check_momentum
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped


@HOOKS.register_module()
class TargetEMAHook(Hook):
    """Moves EMA teachers (`EMATarget`, `LatentPredictionLoss`) towards the student after each optimizer step.

    The momentum changes along a cosine in the course of the run (BYOL). Without a teacher the hook does nothing.

    Args:
        begin_momentum: Momentum at the beginning; by default the `momentum` of the teacher.
        end_momentum: Momentum at the end; the same value as at the beginning keeps it constant.
    """

    priority = 'NORMAL'

    def __init__(self, begin_momentum: float | None = None, end_momentum: float = 1.0) -> None:
        if begin_momentum is not None:
            check_momentum('begin_momentum', begin_momentum)
        self.begin_momentum = begin_momentum
        self.end_momentum = check_momentum('end_momentum', end_momentum)
        self._handle: Any = None

    def before_train(self, runner: Any) -> None:
        """Attaches the update to the optimizer."""
        model = unwrapped(runner.model)
        teachers = list(getattr(model, 'teachers', {}).values())
        if not teachers:
            return

        def update(optimizer: Any, *_: Any) -> None:
            # Set where a device or a `GradScaler` skips the step of a fused optimizer.
            skipped = getattr(optimizer, 'found_inf', None)
            for teacher in teachers:
                momentum = self.momentum_at(runner.iter / runner.max_iters, teacher.momentum)
                teacher.update(model, momentum, skipped)
                runner.message_hub.update_scalar('train/target_momentum', momentum)

        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(update)

    def after_train(self, runner: Any) -> None:
        """Detaches the update."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def momentum_at(self, progress: float, begin: float | None = None) -> float:
        """Returns the momentum at a share of the run, from 0 to 1, for a teacher that has `begin` as its own."""
        end = self.end_momentum
        if self.begin_momentum is not None:
            begin = self.begin_momentum
        elif begin is None:
            begin = end
        return end - (end - begin) * (1 + math.cos(math.pi * progress)) / 2
