# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.models.utils import MultiheadAttention

from vicmae.engine.optimizers import BFloat16OptimWrapper


@pytest.fixture
def attention() -> MultiheadAttention:
    torch.manual_seed(0)
    return MultiheadAttention(embed_dims=32, num_heads=2)


def _wrapper(model: torch.nn.Module) -> BFloat16OptimWrapper:
    return BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))


def test_computes_in_bfloat16_on_a_cpu_and_keeps_weights_in_float32(
    attention: MultiheadAttention,
) -> None:
    wrapper = _wrapper(attention)
    with wrapper.optim_context(attention):
        out = attention(torch.randn(2, 5, 32))
    wrapper.update_params(out.float().square().mean())

    assert out.dtype == torch.bfloat16
    assert {p.dtype for p in attention.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled('cpu')


def test_explicit_attention_equals_the_fused_one(attention: MultiheadAttention) -> None:
    tokens = torch.randn(2, 5, 32)
    fused = attention(tokens)
    with _wrapper(attention).optim_context(attention), torch.autocast('cpu', enabled=False):
        written = attention(tokens)

    torch.testing.assert_close(written, fused)
