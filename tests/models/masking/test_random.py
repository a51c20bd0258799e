# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Laws of all maskings, and of RandomMasking."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vicmae.models.layers import gather_tokens
from vicmae.models.masking import BlockMasking, FrameMasking, RandomMasking

CPU = torch.device('cpu')
MASKINGS = [RandomMasking, BlockMasking, FrameMasking]


@pytest.mark.parametrize('masking', MASKINGS)
@pytest.mark.parametrize('ratio', [0.6, 0.75])
@pytest.mark.parametrize('grid', [(1, 7, 7), (5, 3, 2)])
def test_every_sample_keeps_exactly_the_rounded_down_share(masking, ratio, grid):
    num_patches = grid[0] * grid[1] * grid[2]
    mask = masking(ratio)(5, grid, CPU)
    num_keep = int(num_patches * (1 - ratio))
    assert mask.ids_keep.shape == (5, num_keep)
    assert mask.ids_masked.shape == (5, num_patches - num_keep)
    assert mask.visible.sum(dim=1).tolist() == [num_keep] * 5


@pytest.mark.parametrize('masking', MASKINGS)
def test_ratio_zero_masks_nothing(masking):
    assert masking(0)(3, (2, 4, 4), CPU).visible.all()


@pytest.mark.parametrize('masking', MASKINGS)
def test_ids_restore_inverts_the_shuffle(masking):
    mask = masking(0.75)(6, (2, 2, 5), CPU)
    tokens = torch.rand(6, 20, 3)
    shuffled = gather_tokens(tokens, torch.cat([mask.ids_keep, mask.ids_masked], dim=1))
    assert not torch.equal(shuffled, tokens)
    assert torch.equal(gather_tokens(shuffled, mask.ids_restore), tokens)


@pytest.mark.parametrize('masking', MASKINGS)
def test_visible_is_true_where_the_encoder_sees_the_patch(masking):
    mask = masking(0.75)(4, (1, 4, 4), CPU)
    for kept, masked, visible in zip(mask.ids_keep, mask.ids_masked, mask.visible, strict=True):
        assert visible[kept].all()
        assert not visible[masked].any()


@pytest.mark.parametrize('masking', MASKINGS)
def test_masked_patches_come_in_grid_order(masking):
    ids = masking(0.6)(8, (2, 5, 5), CPU).ids_masked
    assert (ids[:, 1:] > ids[:, :-1]).all()


class OtherOrderOfTies(TorchDispatchMode):
    """A device whose sort puts equal values in the opposite order, unless it is asked to be stable."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is not torch.ops.aten.sort.default:
            return function(*args, **(kwargs or {}))
        values, ids = torch.sort(args[0].flip(-1), dim=-1, stable=True)
        return values, args[0].shape[-1] - 1 - ids


@pytest.mark.parametrize('masking', MASKINGS)
def test_mask_is_the_same_on_a_device_that_orders_equal_noise_otherwise(masking):
    grid = (3, 8, 8)
    noise = torch.randint(5, (6, 192)) / 8  # many ties, and means without rounding
    draw = masking(0.75)
    draw.noise = lambda *_: noise
    expected = draw(6, grid, CPU, torch.arange(6))
    with OtherOrderOfTies():
        mask = draw(6, grid, CPU, torch.arange(6))
    assert all(map(torch.equal, mask, expected))
    if masking is RandomMasking:
        order = np.argsort(noise.numpy(), axis=1, kind='stable')
        assert np.array_equal(mask.ids_keep, order[:, :48])


@pytest.mark.parametrize('masking', MASKINGS)
def test_same_seed_draws_the_same_masks(masking):
    draw = masking(0.75)
    first = torch.manual_seed(3) and draw(4, (2, 4, 4), CPU)
    second = torch.manual_seed(3) and draw(4, (2, 4, 4), CPU)
    other = draw(4, (2, 4, 4), CPU)
    assert torch.equal(first.ids_keep, second.ids_keep)
    assert not torch.equal(first.ids_keep, other.ids_keep)


@pytest.mark.parametrize('masking', MASKINGS)
@pytest.mark.parametrize('ratio', [-0.1, 1, 1.5, 75])
def test_ratio_outside_zero_to_one_is_refused(masking, ratio):
    with pytest.raises(ValueError, match=rf'must be in \[0, 1\), got {ratio}. Give a fraction'):
        masking(ratio)


@pytest.mark.parametrize('masking', MASKINGS)
def test_ratio_that_leaves_no_patch_is_refused(masking):
    with pytest.raises(ValueError, match='0.9 of 4 patches leaves none to encode. Lower it'):
        masking(0.9)(2, (1, 2, 2), CPU)


@pytest.mark.parametrize('masking', [RandomMasking, FrameMasking])
@pytest.mark.parametrize('grid', [(1, 4, 4), (3, 2, 4)])
def test_every_patch_is_kept_equally_often(masking, grid):
    visible = masking(0.7)(20000, grid, CPU).visible.float()
    share = visible[0].mean()
    # Five standard deviations of a mean of 20000 draws, at most 0.018.
    assert (visible.mean(dim=0) - share).abs().max() < 5 * (share * (1 - share) / 20000).sqrt()


def test_samples_are_masked_independently():
    visible = RandomMasking(0.75)(4000, (1, 4, 4), CPU).visible
    assert len(visible.unique(dim=0)) > 1000  # of 1820 masks that there are


def test_patches_with_the_lowest_noise_are_kept_in_order():
    masking = RandomMasking(0.5)
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.8, 0.4], [0.0, 0.2, 0.1, 0.9, 0.8, 0.7]])
    masking.noise = lambda *_: noise
    mask = masking(2, (1, 2, 3), CPU)
    assert mask.ids_keep.tolist() == [[1, 3, 5], [0, 2, 1]]
    assert mask.ids_masked.tolist() == [[0, 2, 4], [3, 4, 5]]
    assert mask.ids_restore.tolist() == [[3, 0, 4, 1, 5, 2], [0, 2, 1, 3, 4, 5]]
