# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor


def attention_weights(attention: MultiheadAttention, x: Tensor) -> Tensor:
    """Computes how much each token (row) attends to each token (column), which the fused kernel doesn't return.

    Rows sum to 1. `x` is the input of the attention, after its norm.

    Shape:
        (B, N, D) -> (B, heads, N, N), float32
    """
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, attention.head_dims))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, heads, N, D / heads) each
    scores = query @ key.transpose(-2, -1) * attention.head_dims**-0.5
    return scores.float().softmax(dim=-1)
