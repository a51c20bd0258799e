# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.layers import gather_tokens
from vicmae.models.masking import RandomMasking

CPU = torch.device('cpu')


@pytest.mark.parametrize('ratio', [0, 0.25, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize('num_patches', [16, 49, 196, 256])
def test_every_sample_keeps_exactly_the_rounded_down_share(ratio, num_patches):
    mask = RandomMasking(ratio)(5, num_patches, CPU)
    num_keep = int(num_patches * (1 - ratio))
    assert mask.ids_keep.shape == (5, num_keep)
    assert mask.ids_masked.shape == (5, num_patches - num_keep)
    assert mask.visible.sum(dim=1).tolist() == [num_keep] * 5


def test_ids_restore_inverts_the_shuffle():
    mask = RandomMasking(0.75)(6, 20, CPU)
    tokens = torch.rand(6, 20, 3)
    shuffled = gather_tokens(tokens, torch.cat([mask.ids_keep, mask.ids_masked], dim=1))
    assert not torch.equal(shuffled, tokens)
    assert torch.equal(gather_tokens(shuffled, mask.ids_restore), tokens)


def test_kept_patches_are_those_of_lowest_noise_from_the_lowest_on():
    masking = RandomMasking(0.5)
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3, 0.8, 0.4], [0.0, 0.2, 0.1, 0.9, 0.8, 0.7]])
    masking.noise = lambda *_: noise
    mask = masking(2, 6, CPU)
    assert mask.ids_keep.tolist() == [[1, 3, 5], [0, 2, 1]]
    assert mask.ids_masked.tolist() == [[0, 2, 4], [3, 4, 5]]
    assert mask.ids_restore.tolist() == [[3, 0, 4, 1, 5, 2], [0, 2, 1, 3, 4, 5]]


def test_visible_is_true_where_the_encoder_sees_the_patch():
    mask = RandomMasking(0.75)(4, 16, CPU)
    for kept, masked, visible in zip(mask.ids_keep, mask.ids_masked, mask.visible, strict=True):
        assert visible[kept].all()
        assert not visible[masked].any()


def test_masked_patches_come_in_grid_order():
    ids = RandomMasking(0.6)(8, 50, CPU).ids_masked
    assert (ids[:, 1:] > ids[:, :-1]).all()


def test_samples_are_masked_independently_and_every_patch_as_often():
    visible = RandomMasking(0.75)(4000, 16, CPU).visible.float()
    # 4000 draws with probability 1/4: five standard deviations are 0.034.
    assert (visible.mean(dim=0) - 0.25).abs().max() < 0.034
    assert len(visible.unique(dim=0)) > 1000  # of 1820 masks that there are


def test_same_seed_draws_the_same_masks():
    masking = RandomMasking(0.75)
    first = torch.manual_seed(3) and masking(4, 16, CPU)
    second = torch.manual_seed(3) and masking(4, 16, CPU)
    other = masking(4, 16, CPU)
    assert torch.equal(first.ids_keep, second.ids_keep)
    assert not torch.equal(first.ids_keep, other.ids_keep)


@pytest.mark.parametrize('ratio', [-0.1, 1, 1.5, 75])
def test_ratio_that_is_no_fraction_is_refused(ratio):
    with pytest.raises(ValueError, match=rf'must be in \[0, 1\), got {ratio}. Give a fraction'):
        RandomMasking(ratio)


def test_ratio_that_leaves_no_patch_is_refused():
    with pytest.raises(ValueError, match='0.9 of 4 patches leaves none to encode. Lower it'):
        RandomMasking(0.9)(2, 4, CPU)
