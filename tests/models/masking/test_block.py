# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.models.masking import BlockMasking, RandomMasking

CPU = torch.device('cpu')


def images(masking, num_samples, height, width):
    """Hidden patches of images, (B, h, w)."""
    visible = masking(num_samples, (1, height, width), CPU).visible
    return (~visible).view(num_samples, height, width).numpy()


def neighbours(row, column, shape):
    for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= r < shape[0] and 0 <= c < shape[1]:
            yield r, c


def num_regions(hidden):
    """Number of 4-connected regions."""
    left = set(zip(*np.nonzero(hidden), strict=True))
    count = 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            found = left.intersection(neighbours(*front.pop(), hidden.shape))
            left -= found
            front += found
    return count


def boundary_length(hidden):
    """Sides between a hidden and a visible patch."""
    return sum(
        not hidden[neighbour]
        for place in zip(*np.nonzero(hidden), strict=True)
        for neighbour in neighbours(*place, hidden.shape)
    )


@pytest.mark.parametrize(('ratio', 'fewer_regions'), [(0.4, 5), (0.6, 3), (0.75, 1.3)])
def test_masked_regions_are_fewer_and_rounder_than_random_ones(ratio, fewer_regions):
    block, random = (images(m(ratio), 60, 14, 14) for m in (BlockMasking, RandomMasking))
    regions = [np.mean([num_regions(h) for h in hidden]) for hidden in (block, random)]
    lengths = [np.mean([boundary_length(h) for h in hidden]) for hidden in (block, random)]
    assert fewer_regions * regions[0] < regions[1]
    assert 1.5 * lengths[0] < lengths[1]


def test_one_sufficient_rectangle_is_masked_unchanged():
    # Of 16x16, half of the area with height = width / 2, hidden as far as the ratio goes: 127 or 128 patches.
    hidden = images(BlockMasking(0.499, scale=(0.5, 0.5), ratio=(0.5, 0.5)), 40, 16, 16)
    corners = set()
    for sample in hidden:
        rows, columns = np.nonzero(sample)
        assert columns.max() - columns.min() == 15
        assert rows.max() - rows.min() == 7
        corners.add(rows.min())
    assert corners == set(range(9))  # all places that keep it inside


def test_sizes_of_rectangles_fill_their_ranges():
    masking = BlockMasking(0.75, scale=(0.1, 0.2), ratio=(0.5, 2))
    first = masking.first_rectangle(400, (40, 60), CPU) == 0  # the first one is never covered
    heights = first.any(dim=2).sum(dim=1)
    widths = first.any(dim=1).sum(dim=1)
    assert torch.equal(first.sum(dim=(1, 2)), heights * widths)
    shares, ratios = heights * widths / 2400, heights / widths
    assert 0.094 < shares.min() < 0.106 and 0.194 < shares.max() < 0.206
    assert 0.46 < ratios.min() < 0.54 and 1.86 < ratios.max() < 2.15
    # As many are higher than wide as wider than high.
    assert abs((ratios > 1).float().mean() - 0.5) < 0.1


def test_frames_of_a_clip_have_equal_block_masks():
    visible = BlockMasking(0.6)(30, (4, 7, 7), CPU).visible.unflatten(1, (4, 49))
    in_part = visible.any(dim=1) & ~visible.all(dim=1)  # (B, h*w)
    # 78 of 196 patches are kept: 19 places in all frames, one in two of them.
    assert (in_part.sum(dim=1) == 1).all()
    assert (visible.all(dim=1).sum(dim=1) == 19).all()


@pytest.mark.parametrize('ratio', [0.5, 0.75, 0.9])
def test_rectangles_suffice_for_nearly_all_samples(ratio):
    masking = BlockMasking(ratio)
    covered = masking.first_rectangle(500, (14, 14), CPU) < masking.num_rectangles
    short = covered.sum(dim=(1, 2)) < 196 - int(196 * (1 - ratio))
    assert short.float().mean() < 0.02


def test_uncovered_patches_are_masked_at_random():
    masking = BlockMasking(0.75)
    masking.num_rectangles = 1
    hidden = torch.from_numpy(images(masking, 3000, 4, 4)).flatten(1)
    assert (hidden.sum(dim=1) == 12).all()
    assert len(hidden.unique(dim=0)) > 1000  # of 1820 that there are


def test_borders_are_masked_less_often_than_the_centre():
    hidden = images(BlockMasking(0.75), 500, 14, 14)
    share = hidden.mean(axis=0)
    assert 0.05 < share.min() < 0.3
    assert share[5:9, 5:9].min() > 0.8


@pytest.mark.parametrize('scale', [(0, 0.2), (0.3, 0.2), (0.1, 20)])
def test_invalid_scale_or_ratio_is_refused(scale):
    with pytest.raises(ValueError, match=r'`scale` must be two shares.*got \(.*\). Give fractions'):
        BlockMasking(0.75, scale=scale)
    with pytest.raises(ValueError, match=r'`ratio` must be two positive numbers.*got \('):
        BlockMasking(0.75, ratio=(2, 0.5))
