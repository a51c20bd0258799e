# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MaskedViT on clips. An image model is inflated to each kind of clip model."""

import itertools
import re
import warnings

import pytest
import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from vicmae.errors import ConfigError
from vicmae.models.backbones import MaskedViT
from vicmae.models.layers import gather_tokens, patchify, sincos_pos_embed
from vicmae.models.masking import FrameMasking, Mask, RandomMasking
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

TOY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
TABLES = {'separable': 'temporal_pos_embed', 'joint': 'joint_pos_embed'}
IMAGE = dict(num_frames=1, tubelet_size=1)


@pytest.fixture(params=TABLES)
def pos_embed_type(request):
    return request.param


def build(seed=0, **kwargs):
    """Builds a model of clips of 4 frames in 2 x 4 x 6 patches, with parameters that differ from the initial ones."""
    sizes = dict(img_size=(16, 24), patch_size=4, num_frames=4, tubelet_size=2)
    torch.manual_seed(seed)
    vit = MaskedViT(TOY, **{**sizes, **kwargs})
    vit.init_weights()
    randomize(vit, seed).eval()
    return vit


def inflated(image_model, **kwargs):
    """Builds a clip model with the weights of an image model."""
    vit = build(seed=1, **kwargs)
    vit.load_state_dict(image_model.state_dict(), strict=True)
    return vit


def still(images, num_frames=4):
    return images.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)


def clips(num_frames=4, batch_size=2):
    return torch.randn(batch_size, 3, num_frames, 16, 24)


@pytest.mark.parametrize('with_cls_token', [True, False])
@pytest.mark.parametrize(('num_frames', 'tubelet_size'), [(4, 2), (4, 1), (4, 4), (6, 3)])
@pytest.mark.parametrize('inflation', ['average', 'centre'])
def test_clip_of_one_frame_repeated_gives_the_features_of_the_image_model(
    pos_embed_type, inflation, num_frames, tubelet_size, with_cls_token
):
    image_model = build(**IMAGE, with_cls_token=with_cls_token)
    clip_model = inflated(
        image_model,
        num_frames=num_frames,
        tubelet_size=tubelet_size,
        pos_embed_type=pos_embed_type,
        inflation=inflation,
        with_cls_token=with_cls_token,
    )
    images = torch.randn(2, 3, 16, 24)
    patches, prefix = image_model.split_prefix(image_model(images)[0])
    found, found_prefix = clip_model.split_prefix(clip_model(still(images, num_frames))[0])
    found = found.unflatten(1, clip_model.grid).flatten(2, 3)  # (B, t, h*w, D)
    for time in found.unbind(1):
        torch.testing.assert_close(time, patches, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found_prefix, prefix, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.mean(dim=(1, 2)), patches.mean(1), rtol=1e-5, atol=1e-5)


def test_still_clips_with_equal_masks_in_each_frame_equal_the_masked_image(
    pos_embed_type,
):
    image_model = build(**IMAGE)
    clip_model = inflated(image_model, pos_embed_type=pos_embed_type)
    images = torch.randn(2, 3, 16, 24)
    of_image = RandomMasking(0.75)(2, image_model.grid, images.device)
    of_clip = Mask(*(torch.cat([ids, ids + 24], dim=1) for ids in of_image))
    tokens, _ = image_model(images, mask=of_image)
    found, _ = clip_model(still(images), mask=of_clip)
    expected = torch.cat([tokens, tokens[:, 1:]], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_order_of_frames_matters_after_positions_are_learned(pos_embed_type):
    vit, x = build(pos_embed_type=pos_embed_type, tubelet_size=1), clips()
    assert not torch.allclose(vit(x)[0].mean(1), vit(x.flip(2))[0].mean(1), atol=1e-3)
    getattr(vit, TABLES[pos_embed_type]).data.zero_()
    torch.testing.assert_close(vit(x)[0].mean(1), vit(x.flip(2))[0].mean(1))


@pytest.mark.parametrize('masked', [True, False])
def test_one_frame_equals_the_image_model_bit_for_bit(pos_embed_type, masked):
    image_model = MaskedViT(TOY, img_size=(16, 24), patch_size=4)
    image_model.init_weights()
    randomize(image_model).eval()
    vit = build(**IMAGE, pos_embed_type=pos_embed_type, inflation='centre')
    vit.load_state_dict(image_model.state_dict(), strict=True)
    images = torch.randn(2, 3, 16, 24)
    mask = RandomMasking(0.75)(2, vit.grid, images.device) if masked else False
    expected = image_model(images, mask=mask)[0]
    assert torch.equal(vit(images, mask=mask)[0], expected)
    assert torch.equal(vit(images.unsqueeze(2), mask=mask)[0], expected)


def test_state_dict_names_of_image_and_clip_models_are_pinned():
    names = list(
        VisionTransformer(TOY, img_size=(16, 24), patch_size=4, out_type='raw').state_dict()
    )
    assert list(build(**IMAGE).state_dict()) == names
    for pos_embed_type, shape in {'separable': (1, 2, 16), 'joint': (1, 48, 16)}.items():
        state = build(pos_embed_type=pos_embed_type).state_dict()
        assert sorted(state) == sorted([*names, TABLES[pos_embed_type]])
        assert state[TABLES[pos_embed_type]].shape == shape
        assert state['patch_embed.projection.weight'].shape == (16, 3, 2, 4, 4)
        assert state['pos_embed'].shape == (1, 25, 16)


@pytest.mark.parametrize('tubelet_size', [1, 2])
def test_clip_model_encodes_images_as_the_image_model_does(pos_embed_type, tubelet_size, recwarn):
    image_model = build(**IMAGE)
    vit = inflated(image_model, tubelet_size=tubelet_size, pos_embed_type=pos_embed_type)
    images = torch.randn(2, 3, 16, 24)
    (tokens,) = vit(images)
    torch.testing.assert_close(tokens, image_model(images)[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(vit(images.unsqueeze(2))[0], tokens)
    assert torch.equal(vit(still(images, tubelet_size))[0], tokens)
    assert not [w for w in recwarn if 'resized' in str(w.message)]  # images are expected


def test_patches_are_ordered_by_time_then_row_then_column(pos_embed_type):
    vit, x = build(pos_embed_type=pos_embed_type), clips()
    positions = vit.positions(vit.grid)[0]
    spatial = sincos_pos_embed((4, 6), 16)[0]
    learned = getattr(vit, TABLES[pos_embed_type])[0]
    patches = vit.embed_patches(patchify(x, vit.patch_size))
    conv = vit.patch_embed.projection(x)  # (B, D, t, h, w)
    for n, (t, h, w) in enumerate(itertools.product(range(2), range(4), range(6))):
        place = h * 6 + w
        along_time = learned[t] if pos_embed_type == 'separable' else learned[t * 24 + place]
        torch.testing.assert_close(positions[n], spatial[place] + along_time)
        torch.testing.assert_close(patches[:, n], conv[:, :, t, h, w])


def test_clips_are_encoded_by_the_plain_layers_with_one_class_token_per_time(pos_embed_type):
    vit, x = build(pos_embed_type=pos_embed_type), clips()
    embedded = vit.patch_embed.projection(x).flatten(2).transpose(1, 2)
    cls_tokens = (vit.cls_token + vit.pos_embed[:, :1]).repeat(2, 2, 1)
    tokens = torch.cat([cls_tokens, embedded + vit.positions(vit.grid)], dim=1)
    for layer in vit.layers:
        tokens = layer(tokens)
    tokens = vit.ln1(tokens)
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1])
    torch.testing.assert_close(vit(x)[0], tokens[:, 1:])


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_nothing_masked_equals_the_plain_encoder_up_to_the_order_of_tokens(
    pos_embed_type, with_cls_token
):
    vit = build(
        pos_embed_type=pos_embed_type, masking=RandomMasking(0), with_cls_token=with_cls_token
    )
    x = clips()
    tokens, mask = vit(x, mask=True)
    assert not torch.equal(mask.ids_keep, mask.ids_keep.sort(dim=1).values)
    patches, prefix = vit.split_prefix(tokens)
    plain_patches, plain_prefix = vit.split_prefix(vit(x)[0])
    torch.testing.assert_close(prefix, plain_prefix)
    torch.testing.assert_close(gather_tokens(patches, mask.ids_restore), plain_patches)


def test_masked_pixels_do_not_influence_the_tokens_of_clips():
    vit, x = build(masking=RandomMasking(0.75)), clips()
    mask = vit.draw_mask(x)
    hidden = ~mask.visible.unflatten(1, vit.grid)
    for axis, size in ((1, 2), (2, 4), (3, 4)):
        hidden = hidden.repeat_interleave(size, dim=axis)  # (B, T, H, W)
    noise = torch.randn_like(x)
    unseen = torch.where(hidden.unsqueeze(1), x + noise, x)
    seen = torch.where(hidden.unsqueeze(1), x, x + noise)
    tokens, _ = vit(x, mask=mask)
    assert torch.equal(vit(unseen, mask=mask)[0], tokens)
    assert not torch.allclose(vit(seen, mask=mask)[0], tokens, atol=0.01)


@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [
        ('raw', (2, 49, 16)),
        ('cls_token', (2, 16)),
        ('featmap', (2, 16, 2, 4, 6)),
        ('avg_featmap', (2, 16)),
    ],
)
def test_output_types_and_intermediate_layers_are_those_of_mmpretrain(out_type, shape):
    vit, x = build(out_type=out_type, out_indices=[0, 1]), clips()
    early, late = vit(x)
    assert early.shape == late.shape == shape
    raw = build(out_indices=[0, 1])
    raw.load_state_dict(vit.state_dict(), strict=out_type != 'avg_featmap')
    for found, tokens in zip((early, late), raw(x), strict=True):
        expected = {
            'raw': tokens,
            'cls_token': tokens[:, 0],
            'featmap': tokens[:, 1:].transpose(1, 2).unflatten(2, (2, 4, 6)),
            'avg_featmap': getattr(vit, 'ln2', nn.Identity())(tokens[:, 1:].mean(dim=1)),
        }
        torch.testing.assert_close(found, expected[out_type])


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize('inflation', ['average', 'centre'])
def test_every_parameter_of_an_inflated_model_is_trained(pos_embed_type, inflation, masked):
    vit = inflated(
        build(**IMAGE),
        pos_embed_type=pos_embed_type,
        inflation=inflation,
        masking=RandomMasking(0.5),
    )
    tokens = vit(clips(), mask=masked)[0]
    (tokens * torch.randn_like(tokens)).sum().backward()
    for name, parameter in vit.named_parameters():
        assert parameter.requires_grad == (name != 'pos_embed'), name
        assert not parameter.requires_grad or parameter.grad.abs().max() > 1e-6, name
    weight = vit.patch_embed.projection.weight
    assert (weight.grad.abs().amax(dim=(0, 1, 3, 4)) > 1e-6).all()  # of each frame


@pytest.mark.parametrize('name', TABLES.values())
def test_positions_in_time_learn_at_full_rate_under_layer_decay(name):
    # They begin at zero; of the rate of pretrained first layers, next to nothing would come of them.
    vit = build()
    assert vit.get_layer_depth(f'backbone.{name}', 'backbone.') == (3, 4)
    assert vit.get_layer_depth('backbone.pos_embed', 'backbone.') == (0, 4)


def test_frozen_stages_freeze_parameters_of_clips():
    vit = MaskedViT(TOY, img_size=16, patch_size=4, num_frames=4, tubelet_size=2, frozen_stages=1)
    trained = {name for name, parameter in vit.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith(('layers.1', 'ln1')) for name in trained)


@pytest.mark.slow
def test_compiled_layers_give_the_same_features_of_clips():
    config = {k: toy_vicmae_config()[k] for k in ('data_preprocessor', 'backbone', 'aggregator')}
    config['backbone'] |= dict(num_frames=4, tubelet_size=2)
    model = MODELS.build(
        dict(
            type='SimCLR',
            projector=dict(type='MLPHead', hidden_dim=16, out_dim=8),
            contrastive=dict(type='InfoNCELoss'),
            **config,
        )
    ).eval()
    x = torch.randn(2, 3, 4, 16, 16)
    expected = model.extract_feat(x)
    assert expected.shape == (2, 16)
    assert model.compile_layers(backend='aot_eager') == 2
    torch.testing.assert_close(model.extract_feat(x), expected)


def test_weights_are_initialised_as_one_linear_layer_and_time_positions_as_zero():
    vit = MaskedViT('tiny', img_size=32, patch_size=8, num_frames=4, tubelet_size=2)
    vit.temporal_pos_embed.data.fill_(7)
    vit.init_weights()
    bound = (6 / (192 + 3 * 2 * 8 * 8)) ** 0.5
    assert 0.99 * bound < vit.patch_embed.projection.weight.abs().max().item() <= bound
    assert vit.patch_embed.projection.bias.eq(0).all()
    assert vit.temporal_pos_embed.eq(0).all()
    assert torch.equal(vit.pos_embed, sincos_pos_embed((4, 4), 192, num_prefix_tokens=1))


def test_image_weights_load_strictly_and_return_bit_for_bit(pos_embed_type, recwarn):
    image_model = build(**IMAGE)
    clip_model = inflated(image_model, pos_embed_type=pos_embed_type)
    assert torch.equal(clip_model.pos_embed, image_model.pos_embed)
    assert getattr(clip_model, TABLES[pos_embed_type]).eq(0).all()
    assert not [w for w in recwarn if 'resized' in str(w.message)]
    again = build(seed=2, **IMAGE)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        again.load_state_dict(clip_model.state_dict(), strict=True)
    for name, value in image_model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(('inflation', 'shares'), [('average', (0.5, 0.5)), ('centre', (0, 1))])
def test_patch_embedding_is_inflated_as_the_config_says(inflation, shares):
    image_model = build(**IMAGE)
    frames = inflated(image_model, inflation=inflation).patch_embed.projection.weight.unbind(2)
    for frame, share in zip(frames, shares, strict=True):
        assert torch.equal(frame, share * image_model.patch_embed.projection.weight)


def test_image_model_of_a_trained_clip_model_has_its_mean_positions(pos_embed_type):
    clip_model, image_model = build(pos_embed_type=pos_embed_type), build(seed=1, **IMAGE)
    with pytest.warns(UserWarning, match='resized from 2x4x6 to 1x4x6'):
        image_model.load_state_dict(clip_model.state_dict(), strict=True)
    mean = clip_model.positions(clip_model.grid).unflatten(1, (2, 24)).mean(dim=1)
    torch.testing.assert_close(image_model.positions(image_model.grid), mean)
    assert torch.equal(image_model.pos_embed[:, 0], clip_model.pos_embed[:, 0])


def test_image_weights_of_another_size_are_resized_and_inflated_at_once():
    image_model = build(**IMAGE)
    vit = build(seed=1, img_size=(32, 48))
    with pytest.warns(UserWarning, match='resized from 2x4x6 to 2x8x12 patches'):
        vit.load_state_dict(image_model.state_dict(), strict=True)
    finer = build(seed=2, **IMAGE, img_size=(32, 48))
    with pytest.warns(UserWarning, match='resized from 4x6 to 8x12 patches'):
        finer.load_state_dict(image_model.state_dict(), strict=True)
    images = torch.randn(1, 3, 32, 48)
    (expected,) = finer(images)
    expected = torch.cat([expected, expected[:, 1:]], dim=1)
    torch.testing.assert_close(vit(still(images))[0], expected, rtol=1e-5, atol=1e-5)


def test_clip_weights_reload_unchanged(pos_embed_type, recwarn):
    trained, vit = build(pos_embed_type=pos_embed_type), build(1, pos_embed_type=pos_embed_type)
    vit.load_state_dict(trained.state_dict(), strict=True)
    for name, value in trained.state_dict().items():
        assert torch.equal(vit.state_dict()[name], value), name
    assert not [w for w in recwarn if 'resized' in str(w.message)]


@pytest.mark.parametrize('num_frames', [2, 8, 10])
def test_clips_of_another_length_load_and_encode_alike(pos_embed_type, num_frames):
    trained = build(pos_embed_type=pos_embed_type)
    vit = build(seed=1, pos_embed_type=pos_embed_type, num_frames=num_frames)
    message = rf'resized from 2x4x6 to {num_frames // 2}x4x6 patches'
    with pytest.warns(UserWarning, match=message):
        vit.load_state_dict(trained.state_dict(), strict=True)
    x = clips(num_frames)
    with pytest.warns(UserWarning, match=message):
        (expected,) = trained(x)
    torch.testing.assert_close(vit(x)[0], expected)


def test_clips_of_another_length_and_size_equal_with_and_without_masking(pos_embed_type, recwarn):
    vit = build(pos_embed_type=pos_embed_type, masking=RandomMasking(0), resize_positions=True)
    x = torch.randn(2, 3, 6, 24, 32)
    with pytest.warns(UserWarning, match='resized from 2x4x6 to 3x6x8'):
        (plain,) = vit(x)
    recwarn.clear()
    tokens, mask = vit(x, mask=True)
    assert not recwarn  # warned of once
    torch.testing.assert_close(gather_tokens(tokens[:, 1:], mask.ids_restore), plain[:, 1:])


def test_separable_positions_load_as_joint_ones_with_the_same_features():
    trained, vit = build(), build(seed=1, pos_embed_type='joint')
    vit.load_state_dict(trained.state_dict(), strict=True)
    x = clips()
    torch.testing.assert_close(vit(x)[0], trained(x)[0])


def test_other_tubelets_keep_the_features_of_still_clips():
    trained, vit = build(), build(seed=1, tubelet_size=1, num_frames=2)
    with pytest.warns(UserWarning, match='patches of 2 frames, the model of 1'):
        vit.load_state_dict(trained.state_dict(), strict=True)
    images = torch.randn(1, 3, 16, 24)
    torch.testing.assert_close(vit(still(images, 2))[0], trained(still(images))[0])


def test_clip_checkpoint_without_time_positions_is_not_an_image_checkpoint():
    state = build().state_dict()
    del state['temporal_pos_embed']
    with pytest.raises(RuntimeError, match='Missing key.*temporal_pos_embed'):
        build().load_state_dict(state, strict=True)


def test_pretrained_image_weights_are_inflated_and_not_reinitialised(tmp_path, pos_embed_type):
    image_model = build(**IMAGE)
    torch.save({'state_dict': image_model.state_dict()}, tmp_path / 'image.pth')
    vit = MaskedViT(
        TOY,
        img_size=(16, 24),
        patch_size=4,
        num_frames=4,
        tubelet_size=2,
        pos_embed_type=pos_embed_type,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'image.pth')),
    )
    vit.init_weights()
    for name, value in inflated(image_model, pos_embed_type=pos_embed_type).state_dict().items():
        assert torch.equal(vit.state_dict()[name], value), name


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(num_frames=15),
            '`tubelet_size` 2 must divide `num_frames`, got 15. '
            'Set `model.backbone.num_frames` to 14 or 16.',
        ),
        (dict(num_frames=1), 'got 1. Set `model.backbone.num_frames` to 2.'),
        (dict(num_frames=0), '`num_frames` must be at least 1, got 0. Use 1 for images.'),
        (dict(tubelet_size=-2), '`tubelet_size` must be at least 1, got -2.'),
        (
            dict(pos_embed_type='rope'),
            "`pos_embed_type` must be one of separable, joint, sinusoid, got 'rope'.",
        ),
        (dict(inflation='center'), "`inflation` must be one of average, centre, got 'center'."),
    ],
)
def test_impossible_clips_are_refused_at_construction(kwargs, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(**kwargs)


@pytest.mark.parametrize('masked', [True, False])
@pytest.mark.parametrize(
    ('x', 'message'),
    [
        (
            torch.zeros(1, 3, 7, 16, 24),
            '`tubelet_size` 2 must divide the frames of clips, got 7. Use 6 or 8',
        ),
        (
            torch.zeros(1, 4, 3, 16, 24),
            'Clips are (B, C, T, H, W) with C = 3, got (1, 4, 3, 16, 24). If frames come before '
            'channels, use `clips.transpose(1, 2)`.',
        ),
        (torch.zeros(1, 3, 4, 18, 24), '`patch_size` 4 must divide images, got 18x24 pixels.'),
    ],
)
def test_clips_that_patches_do_not_divide_are_refused_with_advice(x, message, masked):
    vit = build(masking=RandomMasking(0.5))
    with pytest.raises(ConfigError, match=re.escape(message)):
        vit(x, mask=masked)


@pytest.mark.parametrize('masked', [True, False])
def test_image_model_refuses_clips_with_advice(masked):
    with pytest.raises(ValueError, match='encodes images .*got clips of 4 frames. Set'):
        build(**IMAGE, masking=RandomMasking(0.5))(clips(), mask=masked)


def test_mask_that_keeps_no_patch_of_a_clip_is_refused():
    build(masking=RandomMasking(0.97))  # 1 of 48; of an image's 24 it would leave none
    with pytest.raises(ValueError, match='0.99 of 48 patches leaves none to encode'):
        build(masking=RandomMasking(0.99))


def test_frame_masking_works_for_several_frames(recwarn):
    build(masking=FrameMasking(0.5))
    assert not [w for w in recwarn if 'FrameMasking' in str(w.message)]
