# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A message hub for values that stay on their device until the log is written."""

from typing import Any

import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

_MOST_PENDING = 1000


class DeferredMessageHub(MessageHub):
    """MMEngine's message hub that copies logged tensors to the host all together when a history is read.

    MMEngine's own waits for the device at each value. Values and the order of names are the same.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._pending: list[tuple[str, Tensor, int]] = []

    def update_scalar(self, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        """Adds a value to a history; a tensor is read later and must not change until then."""
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel() == 1:
            self._set_resumed_keys(key, resumed)
            self._log_scalars.setdefault(key, HistoryBuffer())  # names keep their order
            self._pending.append((key, value.detach().reshape(()), count))
            if len(self._pending) >= _MOST_PENDING:  # where nothing is ever logged
                self._read()
        else:
            self._read(key)
            super().update_scalar(key, value, count, resumed)

    @property
    def log_scalars(self) -> Any:
        """Returns all histories."""
        self._read()
        return self._log_scalars

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Returns one history."""
        self._read(key)
        return self._log_scalars[key] if key in self._log_scalars else super().get_scalar(key)

    def state_dict(self) -> dict[str, Any]:
        self._read()
        return super().state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        self._pending.clear()  # of what the loaded state replaces
        super().load_state_dict(state_dict)

    def _read(self, key: str | None = None) -> None:
        """Moves pending values into their histories if one belongs to this key, or any without a key."""
        if not any(key in (None, name) for name, _, _ in self._pending):
            return
        pending, self._pending = self._pending, []
        values: dict[int, float] = {}
        for device in {value.device for _, value, _ in pending}:
            numbers = [n for n, (_, value, _) in enumerate(pending) if value.device == device]
            read = torch.stack([pending[n][1].double() for n in numbers]).tolist()
            values.update(zip(numbers, read, strict=True))
        for number, (name, _, count) in enumerate(pending):
            self._log_scalars[name].update(values[number], count)


# MMEngine's parts look for a hub among these. Its metaclass gives each class a separate dict.
DeferredMessageHub._instance_dict = MessageHub._instance_dict
