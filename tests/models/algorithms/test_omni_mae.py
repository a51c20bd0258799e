# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""OmniMAE on toy images and clips."""

import pytest
import torch

from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.structures import Mixed, Views
from vicmae.testing import randomize, toy_video_mae_config
from vicmae.utils.vit import sinusoid_pos_embed

MASKING = dict(
    type='ImageOrClipMasking',
    image=dict(type='RandomMasking', mask_ratio=0.75),
    clip=dict(type='RandomMasking', mask_ratio=0.9),
)


def build(**backbone):
    model = MODELS.build(toy_video_mae_config('OmniMAE', **dict(masking=MASKING) | backbone))
    model.init_weights()
    return randomize(model)


def images_and_clips():
    return torch.randn(3, 3, 16, 16), torch.randn(2, 3, 4, 16, 16)


def loss_of(model, inputs, seeds):
    views = inputs if isinstance(inputs, list) else [inputs]
    return model.loss(views, seeds=seeds)['loss_reconstruction']


def test_image_equals_its_still_clip_of_one_tubelet():
    model, (images, _) = build(), images_and_clips()
    still = images.unsqueeze(2).expand(-1, -1, 2, -1, -1)
    seeds = torch.arange(3)
    expected = loss_of(model, images, seeds)
    assert torch.equal(loss_of(model, still, seeds), expected)
    assert torch.equal(loss_of(model, images.unsqueeze(2), seeds), expected)
    assert torch.equal(model.extract_feat(still), model.extract_feat(images))


def test_image_has_the_positions_of_the_first_time_step():
    model = build()
    table = sinusoid_pos_embed(2 * 16, 16)
    torch.testing.assert_close(model.backbone.positions((2, 4, 4))[0], table)
    assert torch.equal(model.backbone.positions((1, 4, 4))[0], table[:16])
    decoder = sinusoid_pos_embed(2 * 16, 8)
    torch.testing.assert_close(model.neck.positions((2, 4, 4))[0], decoder)
    assert torch.equal(model.neck.positions((1, 4, 4))[0], decoder[:16])


def test_images_and_clips_have_their_own_ratios():
    model, (images, clips) = build(), images_and_clips()
    assert model.backbone(images, mask=True)[0].shape == (3, 4, 16)  # of 16
    assert model.backbone(clips, mask=True)[0].shape == (2, 3, 16)  # of 32


def test_mixed_batch_has_the_mean_loss_of_its_samples():
    model, (images, clips) = build(), images_and_clips()
    seeds = torch.arange(5)
    batch = Mixed([Views([images], seeds=seeds[:3]), Views([clips], seeds=seeds[3:])])
    found = model(**batch, mode='loss')['loss_reconstruction']
    one, other = loss_of(model, images, seeds[:3]), loss_of(model, clips, seeds[3:])
    torch.testing.assert_close(found, (3 * one + 2 * other) / 5)


def test_each_kind_is_logged_apart_and_only_the_sum_is_trained():
    model, (images, clips) = build(), images_and_clips()
    seeds = torch.arange(5)
    image, clip = Views([images], seeds=seeds[:3]), Views([clips], seeds=seeds[3:])
    mixed = model(**Mixed([image, clip]), mode='loss')
    assert set(mixed) == {'loss_reconstruction', 'reconstruction_image', 'reconstruction_clip'}
    for kind, batch in (('image', image), ('clip', clip)):
        alone = model(**batch, mode='loss')
        assert set(alone) == {'loss_reconstruction', f'reconstruction_{kind}'}
        for logged in (alone, mixed):
            torch.testing.assert_close(logged[f'reconstruction_{kind}'], loss_of(model, **batch))
            assert not logged[f'reconstruction_{kind}'].requires_grad
    assert model.parse_losses(mixed)[0] == mixed['loss_reconstruction']


def test_every_parameter_is_trained_by_either_kind():
    for inputs in images_and_clips():
        model = build()
        loss_of(model, inputs, None).backward()
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == ('pos_embed' not in name), name
            assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name


def test_backbone_of_images_is_refused():
    with pytest.raises(ConfigError, match='encodes images only. Set `backbone.num_frames=16`'):
        build(num_frames=1, tubelet_size=1, pos_embed_type='separable')
