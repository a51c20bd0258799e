# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.masking import FrameMasking, RandomMasking

CPU = torch.device('cpu')


@pytest.mark.parametrize('ratio', [0.25, 0.5, 0.6, 0.75, 0.95])
@pytest.mark.parametrize('grid', [(8, 4, 4), (5, 3, 2)])
def test_at_most_one_frame_is_masked_in_part(ratio, grid):
    visible = FrameMasking(ratio)(50, grid, CPU).visible.unflatten(1, (grid[0], -1))
    in_part = visible.any(dim=2) & ~visible.all(dim=2)  # (B, t)
    num_keep, per_frame = int(visible[0].numel() * (1 - ratio)), grid[1] * grid[2]
    assert (in_part.sum(dim=1) == int(num_keep % per_frame > 0)).all()
    assert (visible.all(dim=2).sum(dim=1) == num_keep // per_frame).all()


def test_every_order_of_frames_is_equally_likely():
    ids = FrameMasking(0)(12000, (3, 2, 2), CPU).ids_keep
    orders = (ids.unflatten(1, (3, 4))[:, :, 0] // 4).unique(dim=0, return_counts=True)[1]
    assert len(orders) == 6
    # Each has probability 1/6: five standard deviations are 204.
    assert (orders - 2000).abs().max() < 204


def test_partly_masked_frame_is_masked_at_random():
    # One and a half frames of two are kept: 6 ways to keep 2 of 4 patches, of either frame.
    visible = FrameMasking(0.25)(12000, (2, 2, 2), CPU).visible
    counts = visible.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 12
    # Each has probability 1/12: five standard deviations are 151.
    assert (counts - 1000).abs().max() < 151


def test_frame_masking_of_one_frame_is_random_masking():
    frame, random = FrameMasking(0.75), RandomMasking(0.75)
    frame.noise = random.noise = lambda *_: torch.rand(
        6, 36, generator=torch.Generator().manual_seed(2)
    )
    for one, other in zip(frame(6, (1, 6, 6), CPU), random(6, (1, 6, 6), CPU), strict=True):
        assert torch.equal(one, other)
