# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.masking import RandomMasking, TubeMasking

CPU = torch.device('cpu')


@pytest.mark.parametrize('ratio', [0, 0.5, 0.75, 0.9, 0.95])
@pytest.mark.parametrize('grid', [(8, 14, 14), (5, 3, 2), (1, 4, 4)])
def test_all_time_steps_have_one_mask_with_exactly_the_stated_count(ratio, grid):
    t, h, w = grid
    mask = TubeMasking(ratio)(6, grid, CPU)
    visible = mask.visible.unflatten(1, (t, h * w))
    assert torch.equal(visible, visible[:, :1].expand_as(visible))
    assert mask.ids_keep.shape == (6, t * (h * w - int(ratio * h * w)))
    assert (visible.sum(dim=2) == h * w - int(ratio * h * w)).all()


def test_positions_are_those_of_the_mask():
    mask = TubeMasking(0.75)(3, (3, 4, 2), CPU)
    assert torch.equal(mask.ids_masked, mask.ids_masked.sort(dim=1).values)  # in grid order
    order = torch.cat([mask.ids_keep, mask.ids_masked], dim=1)
    assert torch.equal(order.gather(1, mask.ids_restore), torch.arange(24).expand(3, -1))
    visible = torch.zeros(3, 24, dtype=torch.bool).scatter(1, mask.ids_keep, True)
    assert torch.equal(mask.visible, visible)


def test_every_place_is_kept_equally_often():
    visible = TubeMasking(0.75)(8000, (2, 4, 2), CPU).visible
    # Kept with probability 1/4: five standard deviations are 194.
    assert (visible.sum(dim=0) - 2000).abs().max() < 194


def test_mask_depends_only_on_the_samples_seed():
    seeds = torch.tensor([3, 11, 3, 5])
    masking, grid = TubeMasking(0.75), (2, 4, 4)
    batch = masking(4, grid, CPU, seeds)
    assert torch.equal(batch.ids_keep[0], batch.ids_keep[2])
    assert not torch.equal(batch.ids_keep[0], batch.ids_keep[1])
    for i, seed in enumerate(seeds):
        for ids, alone in zip(batch, masking(1, grid, CPU, seed[None]), strict=True):
            assert torch.equal(ids[i], alone[0])


def test_image_is_masked_at_random():
    tube, random = TubeMasking(0.75), RandomMasking(0.75)
    seeds = torch.arange(6)
    for one, other in zip(
        tube(6, (1, 4, 4), CPU, seeds), random(6, (1, 4, 4), CPU, seeds), strict=True
    ):
        assert torch.equal(one, other)
