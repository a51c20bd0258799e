# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from types import MethodType
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """Makes layers store only their input, and recompute the rest in the backward pass.

    Gradients don't change. (MMEngine's `activation_checkpointing` uses reentrant checkpoints, which lose gradients if
    no input requires one.)
    """
    for layer in layers:
        layer.forward = MethodType(_forward_again_in_backward, layer)


def _forward_again_in_backward(layer: nn.Module, *args: Any) -> Any:
    return checkpoint(type(layer).forward, layer, *args, use_reentrant=False)
