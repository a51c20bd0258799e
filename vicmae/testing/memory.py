# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations make, until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What went in is no new memory, also where an operation returns a view of it.
        before = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_tensor(leaf) and _address(leaf) not in self._known | before:
                self._watch(leaf.untyped_storage())
        return result

    def _watch(self, storage: Any) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        self._known.add(address)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.live -= size


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def peak_memory(function: Callable[[], Any]) -> int:
    """Runs a function and returns the largest number of bytes that its tensors held at once, on any device.

    What was there before isn't counted, nor what an operation takes and gives back inside.

    Examples:
        >>> peak_memory(lambda: torch.ones(1000) + 1)
        8000
    """
    with _LiveBytes() as mode:
        result = function()  # kept until the end, as the caller would
        del result
    return mode.peak
