# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds beside weights, as values that `torch.load(weights_only=True)` reads."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from vicmae.errors import CheckpointError

_ARRAY, _HISTORY = '__array__', '__history__'


def to_plain(value: Any, where: str = 'checkpoint') -> Any:
    """Writes arrays and log histories as dicts of tensors; refuses what neither they nor plain values make up.

    Args:
        value: The value.
        where: Its name, for the message.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes, Tensor)):
        return value
    if isinstance(value, dict):
        plain: Any = OrderedDict() if isinstance(value, OrderedDict) else {}
        plain.update((key, to_plain(v, f'{where}.{key}')) for key, v in value.items())
        if hasattr(value, '_metadata'):  # versions of modules, beside their state
            plain._metadata = value._metadata
        return plain
    if isinstance(value, (list, tuple)):
        return type(value)(to_plain(v, f'{where}.{i}') for i, v in enumerate(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return {_ARRAY: torch.from_numpy(value.copy())}
    if isinstance(value, HistoryBuffer):
        return {_HISTORY: [to_plain(v) for v in value.data], 'max_length': value.max_length}
    raise CheckpointError(
        f'`{where}` is a {type(value).__name__}, which a sharded checkpoint has no place for: only tensors, arrays of '
        'numbers, log histories and plain values. Turn it into these in the hook that put it there.'
    )


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return value[_ARRAY].numpy()
        if _HISTORY in value:
            values, counts = (from_plain(v) for v in value[_HISTORY])
            return HistoryBuffer(values, counts, value['max_length'])
        for key, inner in value.items():
            value[key] = from_plain(inner)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(from_plain(v) for v in value)
    return value
