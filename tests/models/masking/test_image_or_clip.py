# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.masking import ImageOrClipMasking, RandomMasking, TubeMasking
from vicmae.models.parts import build_part

CPU = torch.device('cpu')


@pytest.mark.parametrize(
    ('grid', 'masking'), [((1, 4, 4), RandomMasking(0.5)), ((2, 4, 4), TubeMasking(0.75))]
)
def test_images_and_clips_get_the_masks_of_their_own_masking(grid, masking):
    both, seeds = (
        ImageOrClipMasking(image=RandomMasking(0.5), clip=TubeMasking(0.75)),
        torch.arange(5),
    )
    for one, other in zip(both(5, grid, CPU, seeds), masking(5, grid, CPU, seeds), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(('image', 'clip'), [(0.9, 0.5), (0.5, 0.99)])
def test_ratio_that_keeps_no_patch_is_refused_at_construction(image, clip):
    masking = dict(
        type='ImageOrClipMasking',
        image=dict(type='RandomMasking', mask_ratio=image),
        clip=dict(type='RandomMasking', mask_ratio=clip),
    )
    backbone = dict(type='MaskedViT', arch='tiny', img_size=16, patch_size=8, num_frames=4)
    with pytest.raises(ValueError, match='patches leaves none to encode'):
        build_part({**backbone, 'masking': masking}, nested=('masking',))


def test_both_maskings_are_built_from_a_config_of_the_backbone():
    backbone = dict(
        type='MaskedViT',
        arch='tiny',
        img_size=64,
        patch_size=8,
        masking=dict(
            type='ImageOrClipMasking',
            image=dict(type='RandomMasking', mask_ratio=0.9),
            clip=dict(type='RandomMasking', mask_ratio=0.95),
        ),
    )
    masking = build_part(backbone, nested=('masking',)).masking
    assert (masking.image.mask_ratio, masking.clip.mask_ratio) == (0.9, 0.95)
