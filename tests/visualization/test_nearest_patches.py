# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.visualization.nearest_patches import find_nearest_patches, patch_at


def make_tokens(seed, *grid):
    return torch.randn(*grid, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('place', [(0, 0, 0), (1, 2, 3), (0, 1, 4)])
def test_nearest_patch_among_copies_of_a_picture_is_the_patch_itself(place):
    tokens = make_tokens(0, 2, 3, 5)
    for patch in find_nearest_patches(tokens[place], [tokens.clone(), 3 * tokens]):
        assert patch.place == place
        assert patch.similarity == pytest.approx(1.0, abs=1e-6)


def test_nearest_patches_are_those_of_a_slow_search_the_most_similar_first():
    query, inputs = make_tokens(0, 1)[0], [make_tokens(seed, 2, 3, 4) for seed in (1, 2, 3)]
    expected = []
    for number, tokens in enumerate(inputs):
        best = (-2.0, None)
        for place in np.ndindex(2, 3, 4):
            token = tokens[place]
            cosine = float(query @ token / query.norm() / token.norm())
            best = max(best, (cosine, place))
        expected.append((best[0], number, best[1]))
    found = find_nearest_patches(query, inputs)
    for patch, (cosine, number, place) in zip(found, sorted(expected, reverse=True), strict=True):
        assert (patch.number, patch.place) == (number, place)
        assert patch.similarity == pytest.approx(cosine, abs=1e-6)
        assert patch.similarities.shape == (2, 3, 4)
        assert float(patch.similarities.max()) == patch.similarity


@pytest.mark.parametrize(
    ('point', 'place'),
    [((0, 0), (1, 0, 0)), ((1, 1), (1, 3, 5)), ((0.5, 0.5), (1, 2, 3)), ((0.99, 0.26), (1, 1, 5))],
)
def test_point_is_a_share_of_width_and_height(point, place):
    assert patch_at((3, 4, 6), point) == place
