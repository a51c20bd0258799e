# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from vicmae.models.layers.inflation import INFLATIONS, deflate, fit_patch_embed, inflate


@pytest.mark.parametrize('how', INFLATIONS)
@pytest.mark.parametrize('tubelet_size', [1, 2, 3, 4])
def test_still_tubelets_equal_the_image(how, tubelet_size):
    weight, image = torch.randn(5, 3, 4, 4), torch.randn(2, 3, 8, 12)
    still = image.unsqueeze(2).expand(-1, -1, tubelet_size, -1, -1)
    embedded = F.conv3d(still, inflate(weight, tubelet_size, how), stride=(tubelet_size, 4, 4))
    torch.testing.assert_close(embedded.squeeze(2), F.conv2d(image, weight, stride=4))


def test_average_gives_each_frame_the_same_share():
    weight = torch.randn(5, 3, 4, 4)
    inflated = inflate(weight, 4, 'average')
    assert inflated.shape == (5, 3, 4, 4, 4)
    assert all(torch.equal(frame, weight / 4) for frame in inflated.unbind(2))


@pytest.mark.parametrize(('tubelet_size', 'middle'), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_centre_gives_all_to_the_middle_frame(tubelet_size, middle):
    weight = torch.randn(5, 3, 4, 4)
    frames = inflate(weight, tubelet_size, 'centre').unbind(2)
    assert len(frames) == tubelet_size
    for place, frame in enumerate(frames):
        assert torch.equal(frame, weight if place == middle else torch.zeros_like(weight))


@pytest.mark.parametrize('how', INFLATIONS)
@pytest.mark.parametrize('tubelet_size', [1, 2, 4])
def test_inflated_weights_return_bit_for_bit(how, tubelet_size):
    weight = torch.randn(5, 3, 4, 4)
    assert torch.equal(deflate(inflate(weight, tubelet_size, how)), weight)


def test_patch_embedding_that_fits_is_unchanged():
    image, clip = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 2, 4, 4)
    assert fit_patch_embed(image, None) is image
    assert fit_patch_embed(clip, 2) is clip


def test_other_tubelet_size_keeps_still_patches_and_warns():
    loaded = torch.randn(5, 3, 2, 4, 4)
    with pytest.warns(UserWarning, match='patches of 2 frames, the model of 4. .* motion'):
        fitted = fit_patch_embed(loaded, 4, warn=True)
    assert fitted.shape == (5, 3, 4, 4, 4)
    torch.testing.assert_close(deflate(fitted), deflate(loaded))


def test_no_warning_if_nothing_is_lost(recwarn):
    fit_patch_embed(torch.randn(5, 3, 4, 4), 2, warn=True)
    fit_patch_embed(torch.randn(5, 3, 2, 4, 4), 2, warn=True)
    fit_patch_embed(torch.randn(5, 3, 2, 4, 4), 4)
    assert not recwarn
