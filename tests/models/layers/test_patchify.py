# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.models.layers import as_clip, gather_tokens, patchify, unpatchify

# frames, height, width; patch; grid
CASES = [
    ((1, 8, 12), (1, 4, 4), (1, 2, 3)),
    ((4, 8, 12), (2, 4, 3), (2, 2, 4)),
    ((6, 4, 4), (1, 2, 4), (6, 2, 1)),
]


def patchify_slowly(pixels, patch_size):
    """Frame by frame, patch by patch, value by value: pixels (B, C, T, H, W) -> (B, N, P)."""
    batch, channels, *sides = pixels.shape
    counts = [side // p for side, p in zip(sides, patch_size, strict=True)]
    patches = np.zeros((batch, np.prod(counts), np.prod(patch_size) * channels), pixels.dtype)
    for b in range(batch):
        for n, (t, h, w) in enumerate(np.ndindex(*counts)):
            p = 0
            for dt, dh, dw in np.ndindex(*patch_size):
                for c in range(channels):
                    at = (t * patch_size[0] + dt, h * patch_size[1] + dh, w * patch_size[2] + dw)
                    patches[b, n, p] = pixels[(b, c, *at)]
                    p += 1
    return patches


@pytest.mark.parametrize(('sides', 'patch_size', 'grid'), CASES)
def test_patchify_orders_values_as_a_loop_over_frames_rows_columns_and_channels(
    sides, patch_size, grid
):
    clip = torch.arange(2 * 3 * np.prod(sides)).reshape(2, 3, *sides)
    expected = patchify_slowly(clip.numpy(), patch_size)
    np.testing.assert_array_equal(patchify(clip, patch_size).numpy(), expected)


@pytest.mark.parametrize(('sides', 'patch_size', 'grid'), CASES)
def test_unpatchify_inverts_patchify_on_clips(sides, patch_size, grid):
    clip = torch.rand(2, 3, *sides)
    assert torch.equal(unpatchify(patchify(clip, patch_size), patch_size, grid), clip)


def test_image_is_patchified_as_a_clip_of_one_frame():
    image = torch.rand(2, 3, 8, 12)
    assert torch.equal(patchify(image, (1, 4, 4)), patchify(image.unsqueeze(2), (1, 4, 4)))


def test_as_clip_returns_clips_unchanged():
    clip = torch.rand(2, 3, 5, 4, 4)
    assert as_clip(clip) is clip
    assert as_clip(clip[:, :, 0]).shape == (2, 3, 1, 4, 4)


def test_gather_tokens_picks_positions_per_sample_in_the_given_order():
    tokens = torch.rand(3, 7, 5)
    ids = torch.stack([torch.randperm(7)[:4] for _ in range(3)])
    picked = gather_tokens(tokens, ids)
    assert picked.shape == (3, 4, 5)
    for b in range(3):
        for k in range(4):
            assert torch.equal(picked[b, k], tokens[b, ids[b, k]])
