# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST on toy clips."""

import pytest
import torch

from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_video_mae_config

ST = dict(
    pos_embed_type='separable',
    learn_pos_embed=True,
    repeat_cls_token=False,
    with_cls_token=True,
    masking=dict(type='RandomMasking', mask_ratio=0.75),
)


def build(**backbone):
    config = toy_video_mae_config('MAEST', **ST | backbone)
    config['neck']['own_cls_token'] = True
    config['reconstruction'] = dict(type='PixelReconstructionLoss')
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model)


@pytest.mark.parametrize(('num_frames', 'frames'), [(16, [0, 2, 4, 6, 8, 10, 12, 15]), (2, [0])])
def test_target_of_a_tubelet_is_one_of_its_frames(num_frames, frames):
    model = build(num_frames=num_frames)
    clips = torch.arange(num_frames).view(1, 1, -1, 1, 1).expand(2, 3, -1, 16, 16).float()
    patches = model.true_patches(clips)
    assert patches.shape == (2, 16 * len(frames), 3 * 4 * 4)
    expected = torch.tensor(frames).repeat_interleave(16).view(1, -1, 1).expand_as(patches)
    assert torch.equal(patches, expected.float())


def test_frames_are_those_that_evenly_spaced_numbers_round_down_to():
    for num_frames in (4, 6, 8, 16, 32, 64):
        clips = torch.arange(num_frames).view(1, 1, -1, 1, 1).expand(1, 3, -1, 16, 16).double()
        frames = build(num_frames=num_frames).true_patches(clips)[0, ::16, 0]
        exact = [i * (num_frames - 1) // (num_frames // 2 - 1) for i in range(num_frames // 2)]
        assert frames.tolist() == exact
        assert (frames // 2).tolist() == list(range(num_frames // 2))  # one of each tubelet


def test_loss_reads_the_predicted_frames_only():
    model, clips = build(), torch.randn(2, 3, 4, 16, 16)
    seeds = torch.arange(2)
    mask = model.backbone.draw_mask(clips, seeds)
    hidden = (~mask.visible).view(2, 1, 2, 4, 4)
    for dim, size in ((2, 2), (3, 4), (4, 4)):
        hidden = hidden.repeat_interleave(size, dim=dim)
    predicted = torch.tensor([True, False, False, True]).view(1, 1, 4, 1, 1)  # frames 0 and 3
    loss = model.loss([clips], seeds=seeds)['loss_reconstruction']
    noise = torch.randn_like(clips)
    ignored = torch.where(hidden & ~predicted, clips + noise, clips)
    assert torch.equal(model.loss([ignored], seeds=seeds)['loss_reconstruction'], loss)
    read = torch.where(hidden & predicted, clips + noise, clips)
    assert not torch.allclose(model.loss([read], seeds=seeds)['loss_reconstruction'], loss)


def test_all_positions_and_both_class_tokens_are_trained():
    model = build()
    model.loss([torch.randn(2, 3, 4, 16, 16)])['loss_reconstruction'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad.abs().max() > 0, name
    for name in ('backbone.cls_token', 'backbone.pos_embed', 'backbone.temporal_pos_embed'):
        assert name in model.state_dict()
    for name in ('decoder_cls_token', 'decoder_pos_embed', 'decoder_temporal_pos_embed'):
        assert f'neck.{name}' in model.state_dict()


def test_encoder_has_one_class_token_and_positions_are_sums():
    model, clips = build().eval(), torch.randn(2, 3, 4, 16, 16)
    vit = model.backbone
    embedded = vit.patch_embed.projection(clips).flatten(2).transpose(1, 2)
    space, time = vit.pos_embed[0, 1:], vit.temporal_pos_embed[0]
    positions = torch.stack([space[n % 16] + time[n // 16] for n in range(32)])
    cls_token = (vit.cls_token[0] + vit.pos_embed[0, :1]).expand(2, 1, -1)
    tokens = torch.cat([cls_token, embedded + positions], dim=1)
    for layer in vit.layers:
        tokens = layer(tokens)
    torch.testing.assert_close(vit(clips)[0], vit.ln1(tokens))


def test_decoder_ignores_the_encoded_class_token():
    model, clips = build(), torch.randn(2, 3, 4, 16, 16)
    tokens, mask = model.backbone(clips, mask=True)
    other = torch.cat([torch.randn_like(tokens[:, :1]), tokens[:, 1:]], dim=1)
    assert torch.equal(model.neck(other, mask), model.neck(tokens, mask))


def test_learned_positions_start_at_random_and_are_kept_by_a_checkpoint():
    config = toy_video_mae_config('MAEST', **ST)
    model, again = MODELS.build(config), MODELS.build(config)
    model.init_weights()
    tables = [model.backbone.pos_embed, model.backbone.temporal_pos_embed]
    tables += [model.neck.decoder_pos_embed, model.neck.decoder_temporal_pos_embed]
    for table in tables:
        assert 0.01 < table.std() < 0.03
    again.load_state_dict(model.state_dict())
    assert all(v.equal(again.state_dict()[name]) for name, v in model.state_dict().items())


def test_layer_decay_treats_learned_positions_as_the_first_layer():
    model = build()
    for name in ('pos_embed', 'temporal_pos_embed', 'cls_token'):
        assert model.get_layer_depth(f'backbone.{name}') == (0, 4)
