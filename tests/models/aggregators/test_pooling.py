# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.registry import MODELS


@pytest.mark.parametrize(('name', 'reduce'), [('MeanPooling', np.mean), ('MaxPooling', np.max)])
def test_pooling_reduces_each_channel_over_the_patch_tokens(name, reduce):
    patch_tokens, prefix_tokens = torch.randn(3, 5, 4), torch.full((3, 1, 4), 1e6)
    pooled = MODELS.build(dict(type=name))(patch_tokens, prefix_tokens)
    expected = [
        [reduce(patch_tokens[b, :, d].numpy()) for d in range(4)] for b in range(3)
    ]  # the class token is left out
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize('name', ['MeanPooling', 'MaxPooling'])
def test_pooling_does_not_depend_on_the_order_of_tokens(name):
    pooling = MODELS.build(dict(type=name))
    tokens, prefix = torch.randn(2, 9, 4), torch.randn(2, 1, 4)
    torch.testing.assert_close(
        pooling(tokens[:, torch.randperm(9)], prefix), pooling(tokens, prefix)
    )
