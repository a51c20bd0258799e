# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The configs of VideoMAE, MAE-ST and OmniMAE have these methods' arithmetic, losses and gradients."""

import numpy as np
import pytest
import torch

from vicmae.apis import load_config
from vicmae.registry import MODELS
from vicmae.testing import randomize

from .compare import directional_errors, gradients_of, weights_of
from .reference import Method, mae_st_loss, omni_mae_loss, video_mae_loss

BATCH, TIMES, PLACES = 3, 3, 12  # six frames of 12 x 16 pixels, patches of 2 x 4 x 4
KNOBS = dict(num_frames=6, patch_size=4)
ARCH = dict(embed_dims=24, num_layers=1, num_heads=4, feedforward_channels=40)


def build(name):
    cfg = load_config(name, KNOBS)
    cfg.model.backbone.update(arch=ARCH, img_size=(12, 16))
    cfg.model.neck.update(embed_dim=16, depth=1, num_heads=2)
    return randomize(MODELS.build(cfg.model)).train()


def noisy(*shape):
    """Pixels whose patches differ in colour, so that it matters how targets are normalised."""
    return torch.randn(BATCH, 3, *[1] * (len(shape))) + torch.randn(BATCH, 3, *shape)


def method(mask_ratio, **changes):
    return Method(num_heads=4, decoder_num_heads=2, mask_ratio=mask_ratio, **changes)


def require_same(model, pixels, reference):
    """The loss of a batch and its gradients are those of a function of the weights."""
    total, _ = model.parse_losses(model.loss([pixels]))
    gradients, weights = gradients_of(model, total), weights_of(model)
    assert total.item() == pytest.approx(reference(weights), rel=1e-5)
    errors = directional_errors(gradients, reference, weights)
    assert {name: error for name, error in errors.items() if not error <= 1e-5} == {}


def test_video_mae():
    model, clips = build('videomae_vit-base-p16_8xb128-amp-coslr-800e_k400'), noisy(6, 12, 16)
    noise = torch.rand(BATCH, PLACES)
    model.backbone.masking.noise = lambda *_: noise  # of each place, at all times
    given = clips.double().numpy(), noise.double().numpy()
    paper = method(0.9, norm_pix='channel', sinusoid=True)
    require_same(model, clips, lambda weights: video_mae_loss(weights, *given, paper))


def test_mae_st():
    model, clips = build('maest_vit-base-p16_8xb64-amp-coslr-800e_k400'), noisy(6, 12, 16)
    noise = torch.rand(BATCH, TIMES * PLACES)
    model.backbone.masking.noise = lambda *_: noise
    given = clips.double().numpy(), noise.double().numpy()
    require_same(model, clips, lambda weights: mae_st_loss(weights, *given, method(0.9)))


@pytest.mark.parametrize(
    ('pixels', 'mask_ratio'), [('image', 0.9), ('clip', 0.95)], ids=['images', 'clips']
)
def test_omni_mae(pixels, mask_ratio):
    model = build('omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2')
    image = pixels == 'image'
    batch = noisy(12, 16) if image else noisy(6, 12, 16)
    noise = torch.rand(BATCH, PLACES if image else TIMES * PLACES)
    getattr(model.backbone.masking, pixels).noise = lambda *_: noise
    given = batch.double().numpy(), noise.double().numpy()
    paper = method(mask_ratio, norm_pix='channel', sinusoid=True)
    require_same(model, batch, lambda weights: omni_mae_loss(weights, *given, paper))


def test_images_of_omni_mae_are_still_clips_of_one_time_step():
    model = build('omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2')
    images, seeds = noisy(12, 16), torch.arange(BATCH)
    still = images.unsqueeze(2).expand(-1, -1, 2, -1, -1)
    losses = [
        model.loss([pixels], seeds=seeds)['loss_reconstruction'] for pixels in (images, still)
    ]
    assert torch.equal(*losses)
    assert np.isfinite(losses[0].item())
