# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.visualization.patch_colors import PatchColors


def make_tokens():
    """Four inputs of different grids, with few strong directions."""
    generator = torch.Generator().manual_seed(0)
    strengths = torch.tensor([9.0, 6.0, 4.0, 1.0, 0.5, 0.2, 0.1, 0.1])
    grids = [(1, 4, 4), (1, 4, 4), (2, 4, 4), (3, 2, 5)]
    mixed = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    return [torch.randn(*grid, 8, generator=generator) * strengths @ mixed + 3 for grid in grids]


def difference(one, two):
    return np.abs(one.astype(int) - two.astype(int)).max()


@pytest.mark.parametrize('order', [[3, 2, 1, 0], [2, 0, 3, 1]])
def test_colours_do_not_depend_on_the_order_of_the_inputs(order):
    tokens = make_tokens()
    colors, shuffled = PatchColors(tokens), PatchColors([tokens[n] for n in order])
    for each in tokens:
        assert difference(colors(each), shuffled(each)) <= 1  # rounding


def test_colours_do_not_depend_on_the_batch():
    tokens = make_tokens()
    colors = PatchColors(tokens)
    together = colors(torch.cat(tokens[:2]))
    assert difference(together, np.concatenate([colors(each) for each in tokens[:2]])) == 0
    assert (
        difference(PatchColors([torch.cat(tokens[:2]), *tokens[2:]])(tokens[3]), colors(tokens[3]))
        <= 1
    )


def test_colours_are_the_scaled_principal_components():
    tokens = make_tokens()
    rows = torch.cat([each.flatten(0, 2) for each in tokens]).double().numpy()
    centred = rows - rows.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    colors = PatchColors(tokens)
    np.testing.assert_allclose(colors.explained, (singular**2 / (singular**2).sum())[:3], rtol=1e-6)
    drawn = np.concatenate([colors(each).reshape(-1, 3) for each in tokens]).astype(float)
    for channel in range(3):
        direction = directions[channel]
        component = centred @ direction * np.sign(direction[np.abs(direction).argmax()])
        low, high = np.quantile(component, [0.01, 0.99])
        expected = 255 * ((component - low) / (high - low)).clip(0, 1)
        np.testing.assert_allclose(drawn[:, channel], expected, atol=0.51)


def test_similar_tokens_have_similar_colours_in_all_inputs():
    tokens = make_tokens()
    tokens[1][0, 2, 3] = tokens[3][1, 0, 4]
    colors = PatchColors(tokens)
    np.testing.assert_array_equal(colors(tokens[1])[0, 2, 3], colors(tokens[3])[1, 0, 4])


@pytest.mark.parametrize('noise', [0.0, 1e-7])
def test_tokens_without_differences_are_gray(noise):
    tokens = 5 + noise * torch.randn(1, 3, 3, 8, generator=torch.Generator().manual_seed(0))
    colors = PatchColors([tokens])
    assert (colors(tokens) == 128).all()
    assert torch.isfinite(colors.explained).all()
