# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Attention weights of a layer, and of a backbone."""

import pytest
import torch
from mmpretrain.models.utils import MultiheadAttention

from vicmae.models.backbones import MaskedViT
from vicmae.models.layers import attention_weights
from vicmae.testing import randomize

TOY = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
CLIPS = dict(num_frames=4, tubelet_size=2)
KINDS = {
    'image': dict(),
    'image without class token': dict(with_cls_token=False, out_type='avg_featmap'),
    'clip with copies of the class token': CLIPS,
    'clip with one class token': dict(CLIPS, repeat_cls_token=False),
    'clip without class token': dict(CLIPS, pos_embed_type='sinusoid', with_cls_token=False),
}


@pytest.fixture(params=KINDS)
def vit(request):
    torch.manual_seed(0)
    vit = randomize(MaskedViT(TOY, img_size=16, patch_size=4, **KINDS[request.param]))
    vit.eval()
    return vit


def inputs_of(vit):
    shape = (2, 3, 4, 16, 16) if vit.takes_clips else (2, 3, 16, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('qkv_bias', [True, False])
def test_weights_give_the_output_of_the_layer(qkv_bias):
    torch.manual_seed(0)
    attention = randomize(MultiheadAttention(12, 3, qkv_bias=qkv_bias)).eval()
    x = torch.randn(2, 5, 12)
    weights = attention_weights(attention, x)
    assert weights.shape == (2, 3, 5, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5))
    values = attention.qkv(x)[..., 24:].unflatten(-1, (3, 4)).transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.proj(mixed), attention(x), rtol=1e-5, atol=1e-6)


def test_rows_sum_to_one_over_the_tokens_of_the_output(vit):
    tokens, weights = vit.encode_with_attention(inputs_of(vit))
    num_tokens = vit.num_extra_tokens + torch.Size(vit.grid).numel()
    assert tokens.shape == (2, num_tokens, 16)
    assert weights.shape == (2, 2, num_tokens, num_tokens)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, num_tokens))


def test_tokens_are_those_of_a_plain_forward(vit):
    x = inputs_of(vit)
    vit.out_type = 'raw'
    torch.testing.assert_close(vit.encode_with_attention(x)[0], vit(x)[0], rtol=1e-5, atol=1e-5)


def test_weights_belong_to_the_layer_that_was_asked_for(vit):
    x = inputs_of(vit)
    every = [vit.encode_with_attention(x, layer)[1] for layer in range(3)]
    assert not torch.allclose(every[0], every[1])
    assert torch.equal(vit.encode_with_attention(x)[1], every[2])
    # A layer that attends to all tokens alike.
    for name in ('weight', 'bias'):
        getattr(vit.layers[1].attn.qkv, name).data.zero_()
    _, weights = vit.encode_with_attention(x, 1)
    patches = weights[..., vit.num_extra_tokens :]
    num_times = vit.grid[0]
    num_prefix = vit.num_extra_tokens * (num_times if vit.repeat_cls_token else 1)
    expected = 1 / (num_prefix + patches.shape[-1])
    torch.testing.assert_close(patches, torch.full_like(patches, expected))


def test_no_hook_stays_behind(vit):
    with torch.no_grad():
        vit.encode_with_attention(inputs_of(vit))
    assert not any(module._forward_pre_hooks for module in vit.modules())


@pytest.mark.parametrize('layer', [3, -4])
def test_layer_that_does_not_exist_is_refused(vit, layer):
    with pytest.raises(ValueError, match=f'`layer` must be from -3 to 2, got {layer}'):
        vit.encode_with_attention(inputs_of(vit), layer)
