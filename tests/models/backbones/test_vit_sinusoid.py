# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MaskedViT with the fixed positions of VideoMAE and OmniMAE, and its checkpoints."""

import warnings

import numpy as np
import pytest
import torch

from vicmae.errors import CheckpointError, ConfigError
from vicmae.models.backbones import MaskedViT
from vicmae.models.layers import gather_tokens
from vicmae.models.masking import TubeMasking
from vicmae.testing import randomize

TOY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
IMAGE = dict(num_frames=1, tubelet_size=1, pos_embed_type='separable')
TABLE = 'sinusoid_pos_embed'


def build(seed=0, **kwargs):
    """Builds a model of clips of 6 frames in 3 x 4 x 6 patches."""
    sizes = dict(img_size=(16, 24), patch_size=4, num_frames=6, tubelet_size=2)
    torch.manual_seed(seed)
    vit = MaskedViT(TOY, **{**sizes, 'pos_embed_type': 'sinusoid', **kwargs})
    vit.init_weights()
    randomize(vit, seed).eval()
    return vit


def loaded(source, seed=1, **kwargs):
    """Builds a model with the weights of another one."""
    vit = build(seed, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        vit.load_state_dict(source.state_dict(), strict=True)
    return vit


def clips(num_frames=6, size=(16, 24)):
    return torch.randn(2, 3, num_frames, *size)


def images():
    return torch.randn(2, 3, 16, 24)


def formula(num_positions, width):
    """Sines in even channels, cosines in odd ones, of position / 10000^(2 * (channel // 2) / width)."""
    position, channel = np.mgrid[:num_positions, :width]
    angles = position / 10000 ** (2 * (channel // 2) / width)
    return torch.tensor(np.where(channel % 2 == 0, np.sin(angles), np.cos(angles))).float()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_positions_are_those_of_the_formula_in_grid_order(with_cls_token):
    vit = build(with_cls_token=with_cls_token)
    table = formula(3 * 24, 16)
    torch.testing.assert_close(vit.positions((3, 4, 6))[0], table, rtol=0, atol=1e-6)
    torch.testing.assert_close(vit.positions((2, 4, 6))[0], table[:48], rtol=0, atol=1e-6)
    torch.testing.assert_close(vit.positions((1, 4, 6))[0], table[:24], rtol=0, atol=1e-6)
    if with_cls_token:
        assert vit.pos_embed[:, 0].eq(0).all()


def test_positions_are_fixed_and_part_of_the_checkpoint():
    vit = build()
    fixed = {name for name, p in vit.named_parameters() if not p.requires_grad}
    assert fixed == {'pos_embed', TABLE}
    assert vit.state_dict()['pos_embed'].shape == (1, 25, 16)
    assert vit.state_dict()[TABLE].shape == (1, 72, 16)
    again = loaded(vit)
    assert all(v.equal(again.state_dict()[name]) for name, v in vit.state_dict().items())


def test_image_model_has_the_formula_of_its_own_patches():
    vit = build(num_frames=1, tubelet_size=1, with_cls_token=False)
    torch.testing.assert_close(vit.pos_embed[0], formula(24, 16), rtol=0, atol=1e-6)


def test_encoding_equals_the_plain_layers():
    vit, x = build(with_cls_token=False), clips()
    tokens = vit.patch_embed.projection(x).flatten(2).transpose(1, 2) + formula(72, 16)
    for layer in vit.layers:
        tokens = layer(tokens)
    assert_same(vit(x)[0], vit.ln1(tokens))


def test_nothing_masked_equals_the_plain_encoder_up_to_the_order_of_tokens():
    vit, x = build(masking=TubeMasking(0)), clips()
    tokens, mask = vit(x, mask=True)
    assert_same(gather_tokens(tokens[:, 1:], mask.ids_restore), vit(x)[0][:, 1:])


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_image_model_of_a_clip_checkpoint_gives_the_clip_models_features_of_images(with_cls_token):
    trained = build(with_cls_token=with_cls_token)
    image_model, x = loaded(trained, **IMAGE, with_cls_token=with_cls_token), images()
    assert torch.equal(image_model.pos_embed, trained.pos_embed)  # time step 0
    assert_same(image_model(x)[0], trained(x)[0])


@pytest.mark.parametrize(('num_frames', 'tubelet_size'), [(2, 2), (4, 2)])
def test_model_of_shorter_clips_has_the_first_positions(num_frames, tubelet_size, recwarn):
    trained = build()
    vit = loaded(trained, num_frames=num_frames, tubelet_size=tubelet_size)
    x = clips(num_frames)
    assert_same(vit(x)[0], trained(x)[0])


def test_longer_clips_have_interpolated_positions():
    trained, x = build(), clips(10)
    vit = loaded(trained, num_frames=10)
    with pytest.warns(UserWarning, match='resized from 3x4x6 to 5x4x6'):
        (expected,) = trained(x)
    assert_same(vit(x)[0], expected)
    ends = trained.positions((5, 4, 6)).unflatten(1, (5, 24))[:, [0, -1]]
    assert_same(ends, trained.positions((3, 4, 6)).unflatten(1, (3, 24))[:, [0, -1]])


def test_checkpoint_of_another_size_is_resized_in_space():
    trained, x = build(img_size=16, resize_positions=True), clips(size=(24, 24))
    vit = loaded(trained, img_size=24)
    with pytest.warns(UserWarning, match='resized from 3x4x4 to 3x6x6'):
        (expected,) = trained(x)
    assert_same(vit(x)[0], expected)
    image = torch.randn(1, 3, 24, 24)
    assert_same(loaded(trained, **IMAGE, img_size=24)(image)[0], vit(image)[0])


@pytest.mark.parametrize('pos_embed_type', ['joint', 'separable'])
def test_learned_positions_load_as_fixed_ones_with_the_same_features(pos_embed_type):
    trained, x = build(pos_embed_type=pos_embed_type), clips()
    assert_same(loaded(trained)(x)[0], trained(x)[0])


def test_fixed_positions_load_as_joint_ones_with_the_same_features():
    trained, x = build(), clips()
    vit = loaded(trained, pos_embed_type='joint')
    assert_same(vit(x)[0], trained(x)[0])
    assert vit.joint_pos_embed.requires_grad


def test_image_checkpoint_gives_all_time_steps_its_positions_with_a_warning():
    image_model, x = build(**IMAGE), images()
    vit = build(1)
    with pytest.warns(UserWarning, match="order of frames is lost. `pos_embed_type='separable'`"):
        vit.load_state_dict(image_model.state_dict(), strict=True)
    still = x.unsqueeze(2).expand(-1, -1, 6, -1, -1)
    (expected,), (found,) = image_model(x), vit(still)
    assert_same(found[:, 1:25], expected[:, 1:])
    assert_same(found[:, 0], expected[:, 0])


@pytest.mark.parametrize(
    ('options', 'needed'),
    [
        ({}, ''),
        (dict(pos_embed_type='joint'), 'pos_embed_type=sinusoid'),
        (dict(num_frames=12, tubelet_size=3), 'tubelet_size=2'),
        (IMAGE, 'pos_embed_type=sinusoid tubelet_size=2 num_frames=6'),
    ],
)
def test_model_with_a_class_token_names_all_options_of_a_checkpoint_without_one(options, needed):
    pretrained = build(with_cls_token=False).state_dict()
    with pytest.raises(
        CheckpointError, match='The backbone of the checkpoint has no class token'
    ) as raised:
        build(**options).load_state_dict(pretrained)
    line = ' '.join(f'model.backbone.{o}' for o in ['with_cls_token=False', *needed.split()])
    assert f'`--cfg-options {line}`' in str(raised.value)


def test_class_token_of_a_checkpoint_of_another_size_is_dropped():
    trained = build(img_size=16)
    vit = build(1, img_size=24, with_cls_token=False)
    with pytest.warns(UserWarning, match='resized from 3x4x4 to 3x6x6'):
        unused = vit.load_state_dict(trained.state_dict(), strict=False).unexpected_keys
    assert unused == ['cls_token']
    torch.testing.assert_close(vit.positions((3, 6, 6)), trained.positions((3, 6, 6)))


def test_training_fixed_positions_is_refused():
    with pytest.raises(ConfigError, match='those of `pos_embed_type=.sinusoid.` are fixed. Use'):
        build(learn_pos_embed=True)


def test_one_class_token_instead_of_one_per_time_step():
    one, several, x = build(repeat_cls_token=False), build(), clips()
    several.load_state_dict(one.state_dict())
    assert one(x)[0].shape == several(x)[0].shape == (2, 73, 16)
    assert not torch.allclose(one(x)[0], several(x)[0], atol=1e-4)
    embedded = one.patch_embed.projection(x).flatten(2).transpose(1, 2)
    cls_token = (one.cls_token + one.pos_embed[:, :1]).expand(2, -1, -1)
    tokens = torch.cat([cls_token, embedded + one.positions(one.grid)], dim=1)
    for layer in one.layers:
        tokens = layer(tokens)
    assert_same(one(x)[0], one.ln1(tokens))


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint', 'sinusoid'])
def test_half_precision_and_checkpointed_layers_give_the_same_features(pos_embed_type):
    vit, x = build(pos_embed_type=pos_embed_type), clips()
    again = loaded(vit, pos_embed_type=pos_embed_type, with_cp=True)
    again.train()
    assert_same(again(x)[0], vit(x)[0])
    with torch.autocast('cpu', torch.bfloat16):
        rough = vit(x)[0].float()
    assert (rough - vit(x)[0]).norm() < 0.05 * rough.norm()
    for image in (x[:, :, 0], x[:, :, :1]):
        assert vit.bfloat16()(image.bfloat16())[0].dtype == torch.bfloat16
