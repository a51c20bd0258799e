# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

from mmengine.hooks import Hook

from vicmae.errors import ConfigError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped

SHAPES = ('linear', 'cosine')
UNITS = ('epoch', 'iter', 'run')


@HOOKS.register_module()
class LossWeightScheduleHook(Hook):
    """Raises a loss weight during training, as ViC-MAE does with the contrastive one.

    Args:
        begin: Begin of the ramp, in `unit`.
        end: End of the ramp.
        start_value: Weight before the ramp.
        end_value: Weight after the ramp; by default that of the model's config.
        weight: The attribute of the model that holds the weight.
        unit: 'epoch', 'iter', or 'run': `begin` and `end` are then shares of the run, in [0, 1].
        shape: One of `SHAPES`, in which the weight changes from `begin` to `end`.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        *,
        begin: float = 0,
        end: float,
        start_value: float = 0.0,
        end_value: float | None = None,
        weight: str = 'head.contrastive_weight',
        unit: str = 'epoch',
        shape: str = 'linear',
    ) -> None:
        if not 0 <= begin < end:
            raise ValueError(
                f'A ramp needs 0 <= `begin` < `end`, got begin {begin} and end {end}. '
                'Raise `end`, or leave the hook out for a constant weight.'
            )
        if shape not in SHAPES:
            raise ValueError(f"`shape` must be one of {', '.join(SHAPES)}, got '{shape}'.")
        if unit not in UNITS:
            raise ValueError(f"`unit` must be one of {', '.join(UNITS)}, got '{unit}'.")
        if unit == 'run' and end > 1:
            raise ValueError(
                f"With `unit='run'`, `end` is a share of the run, at most 1, got {end}."
            )
        for name, value in [('start_value', start_value), ('end_value', end_value)]:
            if value is not None and value < 0:
                raise ValueError(
                    f'`{name}` is a loss weight and must not be negative, got {value}. 0 switches a loss off.'
                )
        self.begin, self.end = begin, end
        self.start_value, self.end_value = start_value, end_value
        self.unit, self.shape = unit, shape
        self.weight = weight
        self._path, _, self._name = weight.rpartition('.')

    def before_train(self, runner: Any) -> None:
        """Checks the weight, and reads its final value from the model if the config has none."""
        owner = self._owner(runner)
        if self.end_value is None:
            self.end_value = float(getattr(owner, self._name))
        length = {'epoch': runner.max_epochs, 'iter': runner.max_iters, 'run': 1}[self.unit]
        if self.begin >= length:
            runner.logger.warning(
                f'LossWeightScheduleHook begins at {self.unit} {self.begin}, after the run ends at {length}: the '
                f'weight stays at {self.start_value}.'
            )
        if getattr(owner, self._name.removesuffix('_weight'), self) is None:
            runner.logger.warning(
                f"LossWeightScheduleHook moves '{self._name}', but that loss is switched off."
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Sets the weight of this iteration."""
        position = runner.iter
        if self.unit == 'epoch':
            position = runner.iter / len(runner.train_dataloader)
        elif self.unit == 'run':
            position = runner.iter / runner.max_iters
        setattr(self._owner(runner), self._name, self.value_at(position))

    def value_now(self, runner: Any) -> float:
        """Returns the current weight of the model."""
        return float(getattr(self._owner(runner), self._name))

    def value_at(self, position: float) -> float:
        """Returns the weight at an epoch or iteration, which may be a fraction."""
        end_value = self.start_value if self.end_value is None else self.end_value
        done = min(max((position - self.begin) / (self.end - self.begin), 0.0), 1.0)
        if self.shape == 'cosine':
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start_value + done * (end_value - self.start_value)

    def _owner(self, runner: Any) -> Any:
        model = unwrapped(runner.model)
        try:
            owner = model.get_submodule(self._path)
        except AttributeError:
            owner = None
        if not isinstance(getattr(owner, self._name, None), (int, float)):
            raise ConfigError(
                f"The config's LossWeightScheduleHook moves `model.{self.weight}`, and a {type(model).__name__} has no "
                'such number. Remove the hook from `custom_hooks`, or set its `weight` to an attribute of the model.'
            )
        return owner
