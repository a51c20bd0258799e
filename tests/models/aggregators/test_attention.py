# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy

import numpy as np
import pytest
import torch

from vicmae.models.aggregators import AttentionPooling


def trained(in_dim=8, num_heads=2):
    """A pooling whose weights have moved from where they began, so that each one counts."""
    pooling = AttentionPooling(in_dim, num_heads).double()
    for parameter in pooling.parameters():
        parameter.data += torch.randn_like(parameter)
    return pooling


def slow_attention(pooling, tokens):
    """The same arithmetic, one sample and one head at a time."""
    w = {name: value.detach().numpy() for name, value in pooling.state_dict().items()}
    width, heads = w['query'].shape[-1], pooling.num_heads
    pooled = []
    for sample in tokens.numpy():
        centred = sample - sample.mean(axis=1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
        normed = normed * w['norm.weight'] + w['norm.bias']
        keys = normed @ w['key.weight'].T
        values = normed @ w['value.weight'].T + w['value.bias']
        vector = np.empty(width)
        for channels in np.split(np.arange(width), heads):
            scores = [w['query'][0, 0, channels] @ key[channels] for key in keys]
            weights = np.exp(np.array(scores) / np.sqrt(len(channels)))
            vector[channels] = (weights / weights.sum()) @ values[:, channels]
        pooled.append(vector @ w['proj.weight'].T + w['proj.bias'])
    return np.stack(pooled)


@pytest.mark.parametrize('num_heads', [1, 2, 8])
def test_attention_equals_a_loop_over_samples_and_heads(num_heads):
    pooling, tokens = trained(8, num_heads), torch.randn(3, 6, 8, dtype=torch.float64)
    np.testing.assert_allclose(
        pooling(tokens, None).detach().numpy(), slow_attention(pooling, tokens), rtol=1e-10
    )


def test_every_parameter_receives_a_gradient():
    pooling = AttentionPooling(8, 2)
    (pooling(torch.randn(3, 6, 8), None) * torch.randn(3, 8)).sum().backward()
    for name, parameter in pooling.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


def test_attention_is_initially_the_mean_of_its_projected_values():
    pooling, tokens = AttentionPooling(16, 4), torch.randn(3, 6, 16)
    mean = pooling.proj(pooling.value(pooling.norm(tokens)).mean(dim=1))
    difference = (pooling(tokens, None) - mean).norm() / mean.norm()
    assert 0 < difference < 0.05


def test_init_weights_depends_only_on_the_seed():
    pooling = AttentionPooling(8, 2)
    other = copy.deepcopy(pooling)
    for parameter in other.parameters():
        parameter.data.fill_(7)
    for module in (pooling, other):
        torch.manual_seed(5)
        module.init_weights()
    assert pooling.state_dict().keys() == other.state_dict().keys()
    for name, value in pooling.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_initial_weights_have_the_documented_spread():
    pooling = AttentionPooling(512, 8)
    torch.testing.assert_close(pooling.query.std().item(), 0.02, rtol=0.15, atol=0)
    for layer in (pooling.key, pooling.value, pooling.proj):
        # Xavier-uniform: on +-sqrt(6 / (512 + 512)).
        limit = (6 / 1024) ** 0.5
        assert 0.99 * limit < layer.weight.abs().max() <= limit
    assert not pooling.value.bias.any() and not pooling.proj.bias.any()


@pytest.mark.parametrize('num_heads', [5, 0, -2])
def test_heads_that_do_not_divide_the_width_are_refused(num_heads):
    with pytest.raises(ValueError, match=rf'must divide the width 12, got {num_heads}. Use one'):
        AttentionPooling(12, num_heads)
