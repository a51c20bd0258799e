# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masked autoencoders of clips: VideoMAE."""

import pytest
import torch

from vicmae.models.layers import gather_tokens, patchify
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_video_mae_config


def build(method='VideoMAE', *, neck=None, reconstruction=None, **backbone):
    config = toy_video_mae_config(method, **backbone)
    config['neck'] |= neck or {}
    config['reconstruction'] |= reconstruction or {}
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model)


def step(model, inputs):
    torch.manual_seed(3)  # of the masks
    total, _ = model.parse_losses(model.loss(inputs))
    total.backward()
    return total, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def test_video_mae_of_one_frame_is_mae():
    image = dict(num_frames=1, tubelet_size=1, pos_embed_type='separable', with_cls_token=True)
    image['masking'] = dict(type='RandomMasking', mask_ratio=0.75)
    video_mae = build(**image | dict(masking=dict(type='TubeMasking', mask_ratio=0.75)))
    mae = build('MAE', **image)
    mae.load_state_dict(video_mae.state_dict())
    images = torch.randn(3, 3, 16, 16)
    loss, gradients = step(video_mae, [images.unsqueeze(2)])
    expected, expected_gradients = step(mae, [images])
    assert torch.equal(loss, expected)
    assert all(torch.equal(gradients[name], g) for name, g in expected_gradients.items())


def test_loss_is_that_of_all_patches_decoded_where_they_are_masked():
    model, clips = build(), torch.randn(3, 3, 4, 16, 16)
    mask = model.backbone.draw_mask(clips, torch.arange(3))
    tokens, _ = model.backbone(clips, mask)
    # All patches in grid order, then the masked ones.
    neck = model.neck
    everything = neck.mask_token.expand(3, 32, -1).scatter(
        1, mask.ids_keep.unsqueeze(-1).expand(-1, -1, 8), neck.decoder_embed(tokens)
    )
    everything = everything + neck.positions((2, 4, 4))
    for block in neck.decoder_blocks:
        everything = block(everything)
    everything = neck.decoder_pred(neck.decoder_norm(everything))
    squares = []
    for b, n in (~mask.visible).nonzero().tolist():
        t, place = divmod(n, 16)
        y, x = (4 * i for i in divmod(place, 4))
        tube = clips[b, :, 2 * t : 2 * t + 2, y : y + 4, x : x + 4]  # (C, 2, 4, 4)
        values = tube.flatten(1)
        target = (values - values.mean(1, keepdim=True)) / (
            values.var(1, keepdim=True) + 1e-6
        ).sqrt()
        predicted = everything[b, n].view(2, 4, 4, 3).movedim(-1, 0).flatten(1)
        squares.append((predicted - target).square().mean())
    expected = torch.stack(squares).mean()
    loss = model.loss([clips], seeds=torch.arange(3))['loss_reconstruction']
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_masked_pixels_change_no_token():
    model, clips = build(), torch.randn(2, 3, 4, 16, 16)
    mask = model.backbone.draw_mask(clips)
    tokens, _ = model.backbone(clips, mask)
    hidden = (~mask.visible).view(2, 1, 2, 4, 4)
    for dim, size in ((2, 2), (3, 4), (4, 4)):
        hidden = hidden.repeat_interleave(size, dim=dim)
    other = torch.where(hidden, clips + torch.randn_like(clips), clips)
    assert torch.equal(model.backbone(other, mask)[0], tokens)


def test_every_parameter_is_trained():
    for with_cls_token in (True, False):
        model = build(with_cls_token=with_cls_token)
        step(model, [torch.randn(2, 3, 4, 16, 16)])
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == ('pos_embed' not in name), name
            assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name


def test_true_patches_are_in_grid_order():
    model, clips = build(), torch.randn(2, 3, 4, 16, 16)
    mask = model.backbone.draw_mask(clips)
    patches = patchify(clips, (2, 4, 4))
    assert torch.equal(model.true_patches(clips), patches)
    assert torch.equal(model.true_masked(clips, mask), gather_tokens(patches, mask.ids_masked))


@pytest.mark.slow
def test_compiled_layers_give_the_same_loss():
    model, clips = build(), torch.randn(2, 3, 4, 16, 16)
    expected = model.loss([clips], seeds=torch.arange(2))['loss_reconstruction']
    assert model.compile_layers(backend='aot_eager') == 3
    found = model.loss([clips], seeds=torch.arange(2))['loss_reconstruction']
    torch.testing.assert_close(found, expected)
