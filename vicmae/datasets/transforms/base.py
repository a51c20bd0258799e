# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform


class Transform(BaseTransform):
    """A transform whose `repr` shows its public attributes."""

    def __repr__(self) -> str:
        settings = (f'{k}={v!r}' for k, v in vars(self).items() if not k.startswith('_'))
        return f'{type(self).__name__}({", ".join(settings)})'


class FileTransform(Transform):
    """A transform that reads a file once for several visits to it."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return self.transform_together([results])[0]

    @abstractmethod
    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Transforms all visits to one file."""


def check_range(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Returns a range of positive numbers, or raises a ValueError."""
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise ValueError(f'`{name}` must be two positive numbers in ascending order, got {values}.')
    return values[0], values[1]
