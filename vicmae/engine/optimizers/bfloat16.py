# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
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
    """Runs forward passes in bfloat16 on any device. `AmpOptimWrapper` becomes this on a GPU that has it.

    bfloat16 has the range of float32, so that the loss is not scaled. Weights and their moments stay float32. On a CPU
    attention is not fused: at short sequences the backward pass of the fused one is several times slower there.

    Args:
        optimizer: The optimizer.
        kwargs: The other arguments of `OptimWrapper`, such as `clip_grad`.
    """

    cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Returns the context of the forward pass."""
        with super().optim_context(model), compute_in_bfloat16(model):
            yield


def compute_in_bfloat16(model: nn.Module) -> torch.autocast:
    """Returns a context in which a model computes in bfloat16."""
    device = next(model.parameters()).device.type
    for module in model.modules():
        if device == 'cpu' and isinstance(module, MultiheadAttention):
            module.scaled_dot_product_attention = scaled_dot_product_attention_pyimpl
    return torch.autocast(device, torch.bfloat16)
