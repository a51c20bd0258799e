# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class EMATeacher(nn.Module):
    """Holds copies of a model's parts whose weights are an exponential moving average (EMA) of the model's.

    They get no gradient. `TargetEMAHook` updates them after each optimizer step, with a momentum that rises to 1. They
    are part of the checkpoint; from a checkpoint without them they start as copies of the student.

    Args:
        momentum: Share of the teacher's weights that is kept in an update, in [0, 1], at the start of a run.
    """

    required_hook = 'TargetEMAHook'
    backbone: Any

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = check_momentum('momentum', momentum)
        self.followed: dict[str, str] = {}  # path of the student's part, by name of the teacher's

    def follow(self, model: nn.Module, **parts: str) -> None:
        """Copies parts of a model: the path of each, by the name of the copy. One is the `backbone`."""
        for name, path in parts.items():
            setattr(self, name, copy.deepcopy(model.get_submodule(path)).requires_grad_(False))
        self.followed = parts
        self.backbone.warns_of_resizing = False  # the student warns
        self.train(self.training)

    @torch.no_grad()
    def update(
        self, model: nn.Module, momentum: float | None = None, skipped: Tensor | None = None
    ) -> None:
        """Moves the teacher's parameters towards the student's: m * teacher + (1 - m) * student.

        Buffers (batch norm statistics) are not averaged. If `skipped`, a number on the device, is 1, nothing changes.
        """
        weight = 1 - (self.momentum if momentum is None else check_momentum('momentum', momentum))
        teacher = _parameters(self, self.followed)
        student = _parameters(model, self.followed.values())
        if skipped is None:
            torch._foreach_lerp_(teacher, student, weight)
            return
        differences = torch._foreach_sub(student, teacher)
        torch._foreach_mul_(differences, weight * (1 - skipped))
        torch._foreach_add_(teacher, differences)

    def train(self, mode: bool = True) -> Any:
        """Sets the mode of heads only: their batch norm uses the batch, but the backbone drops no paths."""
        super().train(mode)
        if 'backbone' in self.followed:
            self.backbone.eval()
        return self

    def start_in_checkpoint(self, state_dict: dict[str, Any], prefix: str, student: str) -> None:
        """Adds the teacher, equal to the student, to a checkpoint without one, in place.

        Args:
            state_dict: Weights of the checkpoint.
            prefix: Prefix of the teacher's keys.
            student: Prefix of the keys of the model that it follows.
        """
        if any(key.startswith(f'{prefix}backbone.') for key in state_dict):
            return
        for name, path in self.followed.items():
            stem = f'{student}{path}.'
            for key in [key for key in state_dict if key.startswith(stem)]:
                state_dict[f'{prefix}{name}.{key.removeprefix(stem)}'] = state_dict[key].clone()


def _parameters(model: nn.Module, paths: Iterable[str]) -> list[Tensor]:
    return [p for path in paths for p in model.get_submodule(path).parameters()]


def check_momentum(name: str, value: float) -> float:
    """Returns a momentum, or raises a ValueError."""
    if not 0 <= value <= 1:
        raise ValueError(
            f'`{name}` is the share of the teacher that is kept, in [0, 1], got {value}. Usual values are 0.99 to 1.'
        )
    return value
