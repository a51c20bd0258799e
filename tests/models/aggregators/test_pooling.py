# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Laws of all aggregators, and the arithmetic of those without layers."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from vicmae.registry import MODELS

AGGREGATORS = {
    'MeanPooling': {},
    'MaxPooling': {},
    'GeMPooling': {},
    'ClsPooling': {},
    'AttentionPooling': dict(in_dim=4, num_heads=2),
}


def build(name, **kwargs):
    return MODELS.build(dict(type=name, **{**AGGREGATORS[name], **kwargs}))


def slow_gem(tokens, power, axis=1):
    return (np.maximum(tokens, 1e-6) ** power).mean(axis=axis) ** (1 / power)


@pytest.mark.parametrize('name', AGGREGATORS)
def test_order_of_tokens_does_not_matter(name):
    pooling = build(name)
    tokens, prefix = torch.randn(2, 9, 4), torch.randn(2, 1, 4)
    torch.testing.assert_close(
        pooling(tokens[:, torch.randperm(9)], prefix), pooling(tokens, prefix)
    )


@pytest.mark.parametrize('name', AGGREGATORS)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_shape_and_precision_are_those_of_the_tokens(name, dtype):
    tokens, prefix = torch.randn(3, 5, 4, dtype=dtype), torch.randn(3, 1, 4, dtype=dtype)
    pooling = build(name).to(dtype)
    pooled = pooling(tokens, prefix)
    assert pooled.shape == (3, 4)
    assert pooled.dtype == dtype
    exact = pooling.double()(tokens.double(), prefix.double())
    allowed = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(pooled, exact.to(dtype), rtol=allowed, atol=allowed)


@pytest.mark.parametrize('name', ['MeanPooling', 'MaxPooling', 'GeMPooling'])
def test_pooling_one_token_returns_it(name):
    tokens = torch.rand(3, 1, 4) + 0.1
    torch.testing.assert_close(build(name)(tokens, torch.randn(3, 1, 4)), tokens[:, 0])


@pytest.mark.parametrize('name', ['MeanPooling', 'MaxPooling', 'GeMPooling', 'AttentionPooling'])
def test_class_token_is_left_out(name):
    pooling, tokens = build(name), torch.randn(3, 5, 4)
    assert torch.equal(
        pooling(tokens, torch.randn(3, 1, 4)), pooling(tokens, torch.full((3, 1, 4), 1e6))
    )


@pytest.mark.parametrize(
    ('name', 'reduce'),
    [
        ('MeanPooling', np.mean),
        ('MaxPooling', np.max),
        ('GeMPooling', lambda x: slow_gem(x, 3.0, axis=0)),
    ],
)
def test_pooling_reduces_each_channel_over_the_patch_tokens(name, reduce):
    patch_tokens, prefix_tokens = torch.randn(3, 5, 4), torch.full((3, 1, 4), 1e6)
    pooled = build(name)(patch_tokens, prefix_tokens)
    expected = [[reduce(patch_tokens[b, :, d].numpy()) for d in range(4)] for b in range(3)]
    np.testing.assert_allclose(pooled.detach().numpy(), expected, rtol=2e-6)


def test_gem_of_power_one_is_the_mean_of_positive_tokens():
    tokens = torch.rand(3, 7, 4) + 0.01
    torch.testing.assert_close(build('GeMPooling', p=1)(tokens, None), tokens.mean(dim=1))


def test_gem_grows_from_the_mean_to_the_maximum_with_its_power():
    tokens = torch.rand(3, 7, 4, dtype=torch.float64)
    pooled = [build('GeMPooling', p=p)(tokens, None) for p in (1, 2, 8, 64, 1e5)]
    for smaller, larger in pairwise(pooled):
        assert (smaller < larger).all()
    torch.testing.assert_close(pooled[-1], tokens.amax(dim=1), rtol=1e-4, atol=0)


@pytest.mark.parametrize('p', [1.0, 3.0, 5.5])
def test_gradient_to_the_power_of_gem_is_that_of_finite_differences(p):
    pooling = build('GeMPooling', p=p).double()
    tokens = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    pooling(tokens, None).sum().backward()
    step = 1e-5
    above, below = (
        slow_gem(tokens.detach().numpy(), power).sum() for power in (p + step, p - step)
    )
    np.testing.assert_allclose(pooling.p.grad.numpy(), (above - below) / (2 * step), rtol=1e-7)


def test_gradient_to_the_tokens_of_gem_is_that_of_finite_differences():
    pooling = build('GeMPooling', learn_p=False).double()
    tokens = torch.rand(2, 5, 3, dtype=torch.float64).add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pooling(x, None), tokens)


@pytest.mark.parametrize('p', [3.0, 4.0, 6.0, 50.0])
def test_gem_does_not_overflow_in_half_precision(p):
    tokens = torch.full((1, 8, 2), 100, dtype=torch.float16, requires_grad=True)
    pooled = build('GeMPooling', p=p)(tokens, None)
    assert pooled.tolist() == [[100, 100]]
    pooled.sum().backward()
    torch.testing.assert_close(tokens.grad, torch.full((1, 8, 2), 1 / 8, dtype=torch.float16))


def test_power_of_gem_is_a_parameter_or_a_buffer():
    learned, fixed = build('GeMPooling', p=4), build('GeMPooling', p=4, learn_p=False)
    assert [p.shape for p in learned.parameters()] == [(1,)]
    assert list(fixed.parameters()) == []
    assert learned.state_dict() == fixed.state_dict() == {'p': torch.tensor([4.0])}


def test_init_weights_resets_the_power_of_gem():
    pooling = build('GeMPooling', p=4)
    pooling.p.data.fill_(7)
    pooling.init_weights()
    assert pooling.p.tolist() == [4]


@pytest.mark.parametrize('p', [0.5, -3, 0, float('inf'), float('nan')])
def test_power_of_gem_below_one_is_refused(p):
    with pytest.raises(ValueError, match=f'`p` must be at least 1 and finite, got {p}. Use 1 for'):
        build('GeMPooling', p=p)


def test_eps_of_gem_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match='`eps` must be above 0, got 0'):
        build('GeMPooling', eps=0)


def test_cls_pooling_takes_the_first_prefix_token():
    prefix = torch.randn(3, 2, 4)
    assert torch.equal(build('ClsPooling')(torch.randn(3, 5, 4), prefix), prefix[:, 0])


def test_cls_pooling_without_a_class_token_is_refused():
    with pytest.raises(ValueError, match='has no class token.*`with_cls_token=True` or use `Mean'):
        build('ClsPooling')(torch.randn(3, 5, 4), torch.randn(3, 0, 4))
