# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Half the bytes of float32, on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmpretrain.models.utils import MultiheadAttention
from mmpretrain.models.utils.attention import scaled_dot_product_attention_pyimpl
from torch import nn

from vicmae.registry import OPTIM_WRAPPERS

from .guarded import GuardedOptimWrapper


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(GuardedOptimWrapper):
    """Forward passes in bfloat16 on any device: on a GPU `AmpOptimWrapper` becomes this where the GPU can.

    bfloat16 reaches as far as float32, so that the loss needs no scale, and has none. Weights and their moments stay
    float32. On a CPU attention is written out: the fused one goes backward several times slower there, at sequences as
    short as those of small pictures.

    Args:
        optimizer: The optimizer.
        kwargs: The other arguments of `OptimWrapper`, such as `clip_grad`.
    """

    cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the forward pass runs."""
        with super().optim_context(model), compute_in_bfloat16(model):
            yield


def compute_in_bfloat16(model: nn.Module) -> torch.autocast:
    """Where a forward pass of a model computes in bfloat16."""
    device = next(model.parameters()).device.type
    for module in model.modules():
        if device == 'cpu' and isinstance(module, MultiheadAttention):
            module.scaled_dot_product_attention = scaled_dot_product_attention_pyimpl
    return torch.autocast(device, torch.bfloat16)
