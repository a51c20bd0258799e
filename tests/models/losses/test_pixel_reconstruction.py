# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.models.losses import PixelReconstructionLoss, denormalize_patches, normalize_patches


def loss_slowly(predicted, patches, norm_pix):
    """Patch by patch: the mean square over its values, then the mean over patches and samples."""
    errors = []
    for b in range(len(patches)):
        for m in range(patches.shape[1]):
            target = patches[b, m].astype(np.float64)
            if norm_pix == 'channel':  # values are ordered frame, row, column, channel
                for c in range(3):
                    values = target[c::3]
                    target[c::3] = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-6)
            elif norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            errors.append(((predicted[b, m] - target) ** 2).mean())
    return np.mean(errors)


@pytest.mark.parametrize('norm_pix', [True, False, 'channel'])
def test_loss_equals_a_loop_over_patches(norm_pix):
    predicted, patches = torch.randn(3, 5, 12), 4 + 3 * torch.randn(3, 5, 12)
    loss = PixelReconstructionLoss(norm_pix)(predicted, patches)
    expected = loss_slowly(predicted.numpy(), patches.numpy(), norm_pix)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_change_between_frames_counts_beside_the_pixels():
    predicted, patches = torch.randn(3, 5, 24), torch.randn(3, 5, 24)  # 2 frames of 2 x 2 x 3
    loss = PixelReconstructionLoss(False, difference_weight=0.7, tubelet_size=2)(predicted, patches)
    pixels = loss_slowly(predicted.numpy(), patches.numpy(), False)
    change = [(patch[12:] - patch[:12]) for patch in (predicted - patches).flatten(0, 1).numpy()]
    assert loss.item() == pytest.approx(pixels + 0.7 * np.square(change).mean(), rel=1e-5)


def test_error_that_is_the_same_in_all_frames_is_no_error_of_change():
    patches = torch.randn(3, 5, 24)
    predicted = patches + torch.randn(3, 5, 12).repeat(1, 1, 2)
    losses = [
        PixelReconstructionLoss(False, difference_weight=weight, tubelet_size=2)(predicted, patches)
        for weight in (0.0, 5.0)
    ]
    torch.testing.assert_close(*losses)


def test_change_within_patches_of_one_frame_is_refused():
    with pytest.raises(ValueError, match=r'a patch has one frame. Set `backbone.tubelet_size=2`'):
        PixelReconstructionLoss(difference_weight=1.0)
    with pytest.raises(ValueError, match='must not be negative, got -1'):
        PixelReconstructionLoss(difference_weight=-1, tubelet_size=2)


def test_perfect_prediction_has_no_loss():
    patches = torch.randn(2, 5, 12)
    assert PixelReconstructionLoss(norm_pix=False)(patches, patches).item() == 0
    assert PixelReconstructionLoss()(normalize_patches(patches), patches).item() == 0


def test_normalised_target_ignores_a_patchs_brightness_and_contrast():
    predicted, patches = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    loss = PixelReconstructionLoss()
    brighter = 7 * patches + torch.randn(2, 5, 1)
    assert loss(predicted, brighter).item() == pytest.approx(
        loss(predicted, patches).item(), rel=1e-4
    )


def test_target_normalised_per_channel_ignores_a_patchs_colour():
    predicted, patches = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    loss = PixelReconstructionLoss('channel')
    colour = torch.randn(2, 5, 3).repeat(1, 1, 4)
    expected = loss(predicted, patches).item()
    assert loss(predicted, 7 * patches + colour).item() == pytest.approx(expected, rel=1e-4)
    assert PixelReconstructionLoss()(predicted, patches + colour).item() != pytest.approx(
        PixelReconstructionLoss()(predicted, patches).item(), rel=1e-2
    )


def test_one_channel_normalised_by_itself_is_the_whole_patch():
    predicted, patches = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    expected = PixelReconstructionLoss()(predicted, patches)
    assert torch.equal(
        PixelReconstructionLoss('channel', in_channels=1)(predicted, patches), expected
    )


def test_unknown_normalisation_is_refused():
    with pytest.raises(
        ValueError, match="`norm_pix` must be True, False or 'channel', got 'patch'"
    ):
        PixelReconstructionLoss('patch')


@pytest.mark.parametrize('num_channels', [1, 3])
def test_denormalising_inverts_normalising(num_channels):
    patches = 3 + 5 * torch.randn(2, 5, 12)
    normalized = normalize_patches(patches, num_channels)
    torch.testing.assert_close(denormalize_patches(normalized, patches, num_channels), patches)


def test_patch_of_one_colour_stays_finite():
    patches = torch.full((1, 2, 12), 0.3, requires_grad=True)
    loss = PixelReconstructionLoss()(torch.zeros(1, 2, 12), patches)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert patches.grad.isfinite().all()


def test_nothing_masked_gives_zero_that_can_still_be_differentiated():
    predicted = torch.zeros(2, 0, 12, requires_grad=True)
    loss = PixelReconstructionLoss()(predicted, torch.zeros(2, 0, 12))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad.shape == (2, 0, 12)
