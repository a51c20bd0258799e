# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules in shares of the run, so that they follow its length.

MMEngine sets `end` to the length of the run where a config has none. Both schedules count steps: `by_epoch=False`.
"""

from typing import Any

from mmengine.optim import CosineAnnealingLR, LinearLR

from vicmae.errors import ConfigError
from vicmae.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupLR(LinearLR):
    """Raises the learning rate linearly over the first share of the run.

    Args:
        optimizer: The optimizer, or its wrapper.
        share: Share of the run's steps, in [0, 1); 0.05 of 800 epochs are 40.
        start_factor: Learning rate of the first step over the final one.
        end: Steps of the run; filled in by the runner.
        by_epoch: Must be False: the schedule counts steps.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        share: float = 0.05,
        start_factor: float = 1e-4,
        end: int,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        _require_steps(self, by_epoch)
        steps = _steps('share', share, end)
        if steps < 2:  # LinearLR would stay at its first factor
            steps, start_factor = 1, 1.0
        super().__init__(optimizer, start_factor=start_factor, end=steps, by_epoch=False, **kwargs)


@PARAM_SCHEDULERS.register_module()
class CosineLR(CosineAnnealingLR):
    """Lowers the learning rate along half a cosine, from the end of the warm-up to the end of the run.

    Args:
        optimizer: The optimizer, or its wrapper.
        warmup_share: `share` of the `WarmupLR` before it.
        eta_min: Learning rate at the end; 0 by default.
        eta_min_ratio: The same as a share of the base learning rate, instead of `eta_min`.
        end: Steps of the run; filled in by the runner.
        by_epoch: Must be False: the schedule counts steps.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        warmup_share: float = 0.0,
        end: int,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> None:
        _require_steps(self, by_epoch)
        begin = _steps('warmup_share', warmup_share, end)
        super().__init__(optimizer, begin=begin, end=end, by_epoch=False, **kwargs)


def _require_steps(schedule: Any, by_epoch: bool) -> None:
    if by_epoch:
        raise ConfigError(
            f'{type(schedule).__name__} counts steps: set `by_epoch=False` in `param_scheduler`.'
        )


def _steps(name: str, share: float, total: int) -> int:
    if not 0 <= share < 1:
        raise ConfigError(
            f'`{name}` is a share of the run, in [0, 1), got {share}. 0.05 is a twentieth of its steps.'
        )
    return round(share * total)
