# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from vicmae.errors import ConfigError
from vicmae.models.backbones import MaskedViT
from vicmae.models.layers import gather_tokens, patchify, sincos_pos_embed, unpatchify
from vicmae.models.masking import FrameMasking, RandomMasking
from vicmae.testing import peak_memory, randomize

TOY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


def toy_vit(mask_ratio=0.75, **kwargs):
    vit = MaskedViT(
        TOY, img_size=(16, 24), patch_size=4, masking=RandomMasking(mask_ratio), **kwargs
    )
    vit.init_weights()
    randomize(vit).eval()
    return vit  # mmpretrain's own eval() returns nothing


@pytest.mark.parametrize(
    ('arch', 'patch_size', 'count'),
    [
        ('tiny', 16, 5_524_416),
        ('small', 16, 21_665_664),
        ('base', 16, 85_798_656),
        ('large', 16, 303_301_632),
        ('huge', 14, 630_764_800),
    ],
)
def test_architectures_have_the_parameter_counts_of_the_standard_models(arch, patch_size, count):
    with torch.device('meta'):  # counts without the memory
        vit = MaskedViT(arch, patch_size=patch_size)
    assert sum(p.numel() for p in vit.parameters()) == count


@pytest.mark.parametrize(('arch', 'theirs'), [('tiny', 'deit-tiny'), ('small', 'deit-small')])
def test_state_dict_loads_into_mmpretrains_vit_and_gives_the_same_features(arch, theirs):
    ours = MaskedViT(arch, img_size=32, masking=RandomMasking(0.75))
    ours.init_weights()
    ours.eval()
    plain = VisionTransformer(arch=theirs, img_size=32, out_type='raw')
    plain.eval()
    plain.load_state_dict(ours.state_dict(), strict=True)
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(ours(image)[0], plain(image)[0])


@pytest.mark.parametrize('arch', ['base', 'large', 'huge'])
def test_larger_architectures_have_mmpretrains_names_and_shapes(arch):
    with torch.device('meta'):
        ours = MaskedViT(arch).state_dict()
        theirs = VisionTransformer(arch=arch).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_nothing_masked_equals_the_plain_encoder_up_to_the_order_of_tokens():
    vit = toy_vit(mask_ratio=0)
    images = torch.randn(3, 3, 16, 24)
    tokens, mask = vit(images, mask=True)
    (plain,) = vit(images)
    assert not torch.equal(mask.ids_keep, mask.ids_keep.sort(dim=1).values)
    torch.testing.assert_close(tokens[:, :1], plain[:, :1])
    torch.testing.assert_close(gather_tokens(tokens[:, 1:], mask.ids_restore), plain[:, 1:])


def test_masked_encoding_equals_the_plain_layers_on_the_kept_tokens():
    vit = toy_vit()
    images = torch.randn(3, 3, 16, 24)
    tokens, mask = vit(images, mask=True)
    for b in range(3):
        embedded = vit.patch_embed.projection(images[b : b + 1]).flatten(2).transpose(1, 2)
        embedded = embedded + vit.pos_embed[:, 1:]
        kept = torch.stack([embedded[0, i] for i in mask.ids_keep[b].tolist()])[None]
        x = torch.cat([vit.cls_token + vit.pos_embed[:, :1], kept], dim=1)
        for layer in vit.layers:
            x = layer(x)
        torch.testing.assert_close(tokens[b : b + 1], vit.ln1(x))


def test_masked_pixels_do_not_influence_the_tokens():
    vit = toy_vit()
    images = torch.randn(2, 3, 16, 24)
    noise = torch.rand(2, 24)
    vit.masking.noise = lambda *_: noise
    tokens, mask = vit(images, mask=True)
    patches = patchify(images, vit.patch_size)

    def change(visible):
        where = (mask.visible == visible).unsqueeze(-1)
        changed = torch.where(where, patches + torch.randn_like(patches), patches)
        return vit(unpatchify(changed, vit.patch_size, vit.grid).squeeze(2), mask=True)[0]

    assert torch.equal(change(visible=False), tokens)
    assert not torch.allclose(change(visible=True), tokens, atol=0.01)


def test_grid_counts_rows_before_columns():
    assert toy_vit().grid == (1, 4, 6)


def test_unmasked_backbone_takes_other_sizes_as_mmpretrains_does():
    ours, images = toy_vit(resize_positions=True), torch.randn(1, 3, 24, 32)
    theirs = VisionTransformer(TOY, img_size=(16, 24), patch_size=4, out_type='raw')
    theirs.load_state_dict(ours.state_dict())
    theirs.eval()
    with pytest.warns(UserWarning, match='resized'):
        (tokens,) = ours(images)
    torch.testing.assert_close(tokens, theirs(images)[0])


def test_weights_are_initialised_as_in_mae():
    vit = MaskedViT('tiny', img_size=32, patch_size=8)
    vit.init_weights()
    for name, layer in vit.layers.named_modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / sum(layer.weight.shape))
            largest = layer.weight.abs().max().item()
            assert 0.99 * bound < largest <= bound, name
            assert layer.bias.eq(0).all(), name
    # The patch embedding as one linear layer from 3*8*8 values to 192.
    bound = math.sqrt(6 / (192 + 3 * 8 * 8))
    assert 0.99 * bound < vit.patch_embed.projection.weight.abs().max().item() <= bound
    assert vit.patch_embed.projection.bias.eq(0).all()
    assert 0.015 < vit.cls_token.std().item() < 0.025


def test_position_embedding_is_fixed_sine_cosine_without_a_position_for_the_class_token():
    for vit in (toy_vit(), MaskedViT(TOY, img_size=(16, 24), patch_size=4)):  # drawn, or not yet
        assert torch.equal(vit.pos_embed, sincos_pos_embed((4, 6), 16, num_prefix_tokens=1))
        assert not vit.pos_embed.requires_grad


def test_pretrained_weights_are_not_reinitialised(tmp_path):
    trained = toy_vit()
    torch.save(trained.state_dict(), tmp_path / 'vit.pth')
    vit = MaskedViT(
        TOY,
        img_size=(16, 24),
        patch_size=4,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')),
    )
    vit.init_weights()
    for name, value in trained.state_dict().items():
        assert torch.equal(vit.state_dict()[name], value), name


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='basic'), 'one of tiny, small, base, large, huge or a dict, got .basic.'),
        (dict(arch=dict(embed_dims=8, num_heads=2)), 'must have num_layers, feedforward_channels'),
        (dict(arch={**TOY, 'num_heads': 3}), 'embed_dims. 16 must be a multiple of .*num_heads. 3'),
        (
            dict(img_size=100),
            '`patch_size` 16 must divide `img_size`, got 100x100 pixels. Use 96 or 112.',
        ),
        (dict(img_size=(224, 230)), 'got 224x230 pixels. Use 224 by 224 or 240.'),
        (dict(img_size=9), 'got 9x9 pixels. Use 16.'),
    ],
)
def test_impossible_shapes_are_refused_with_possible_ones(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MaskedViT(**kwargs)


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('size', [(24, 32), (8, 8), (16, 12)])
def test_images_of_another_size_equal_with_and_without_masking(size, mode):
    vit = toy_vit(mask_ratio=0, interpolate_mode=mode, resize_positions=True)
    images = torch.randn(2, 3, *size)
    with pytest.warns(UserWarning, match='resized from 4x6'):
        (plain,) = vit(images)
    tokens, mask = vit(images, mask=True)
    visible_first = torch.cat([torch.zeros(2, 1, dtype=torch.long), mask.ids_keep + 1], dim=1)
    torch.testing.assert_close(tokens, gather_tokens(plain, visible_first))


@pytest.mark.parametrize('mask', [False, True])
def test_another_size_than_the_backbones_is_refused_with_both(mask):
    message = '16x24 pixels, but the input has 24x32.*`image_size`.*`model.backbone.resize_positions=True`'
    with pytest.raises(ConfigError, match=message):
        toy_vit()(torch.randn(1, 3, 24, 32), mask=mask)


def test_feature_maps_are_of_any_size_as_detectors_need_them():
    with pytest.warns(UserWarning, match='resized'):
        (featmap,) = toy_vit(out_type='featmap')(torch.randn(1, 3, 24, 32))
    assert featmap.shape[-2:] == (6, 8)


def test_another_size_warns_once():
    vit = toy_vit(resize_positions=True)

    def encode_three_times():
        for _ in range(3):
            vit(torch.randn(1, 3, 24, 32))
            vit(torch.randn(1, 3, 24, 32), mask=True)
            vit(torch.randn(1, 3, 16, 24), mask=True)

    with pytest.warns(UserWarning, match='resized') as caught:
        encode_three_times()
    assert [str(w.message) for w in caught] == [
        'Position embeddings are resized from 4x6 to 6x8 patches.'
    ]


def test_checkpoint_of_the_transposed_grid_is_resized():
    trained = toy_vit()  # of 4x6 patches
    vit = MaskedViT(TOY, img_size=(24, 16), patch_size=4)
    with pytest.warns(UserWarning, match='resized from 4x6 to 6x4'):
        vit.load_state_dict(trained.state_dict())
    assert not torch.equal(vit.pos_embed, trained.pos_embed)


def test_weights_of_a_model_with_a_class_token_load_into_one_without(recwarn):
    trained = toy_vit()
    vit = MaskedViT(TOY, img_size=(16, 24), patch_size=4, with_cls_token=False)
    state = {k: v for k, v in trained.state_dict().items() if k != 'cls_token'}
    vit.load_state_dict(state)
    assert torch.equal(vit.pos_embed, trained.pos_embed[:, 1:])
    assert not [w for w in recwarn if 'resized' in str(w.message)]


@pytest.mark.parametrize('masked', [True, False])
def test_images_that_patches_do_not_divide_are_refused_with_possible_sizes(masked):
    with pytest.raises(ValueError, match=r'must divide images, got 18x24 pixels. Use 16 or 20 by'):
        toy_vit()(torch.rand(1, 3, 18, 24), mask=masked)


def test_checkpoint_of_another_size_loads_with_one_warning_and_its_positions_interpolated():
    trained = toy_vit()  # of 4x6 patches
    vit = MaskedViT(TOY, img_size=(32, 48), patch_size=4)
    with pytest.warns(UserWarning, match='resized') as caught:
        vit.load_state_dict(trained.state_dict())
    assert [str(w.message) for w in caught] == [
        'Position embeddings are resized from 4x6 to 8x12 patches.'
    ]
    table = trained.pos_embed[:, 1:].unflatten(1, (4, 6)).permute(0, 3, 1, 2)
    finer = nn.functional.interpolate(table, size=(8, 12), mode='bicubic', align_corners=False)
    torch.testing.assert_close(vit.pos_embed[:, 1:], finer.flatten(2).transpose(1, 2))
    assert torch.equal(vit.pos_embed[:, :1], trained.pos_embed[:, :1])


def test_checkpointed_layers_give_the_same_gradients_at_less_memory():
    images, noise = torch.randn(8, 3, 16, 24), torch.rand(8, 24)
    arch = {**TOY, 'num_layers': 8}
    gradients, memory = [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        vit = MaskedViT(
            arch,
            img_size=(16, 24),
            patch_size=4,
            masking=RandomMasking(0.5),
            drop_rate=0.1,
            with_cp=with_cp,
        )
        vit.init_weights()
        vit.masking.noise = lambda *_: noise

        def step(vit=vit):
            torch.manual_seed(1)  # dropout is drawn again in the backward pass, from the same state
            vit(images, mask=True)[0].square().sum().backward()

        memory.append(peak_memory(step))
        gradients.append([p.grad for p in vit.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert memory[1] < 0.4 * memory[0]


def test_frame_masking_is_refused_for_image_models():
    with pytest.warns(UserWarning, match='encodes single frames: it hides random patches'):
        MaskedViT(TOY, img_size=16, patch_size=4, masking=FrameMasking())


def test_masking_without_a_masking_part_is_refused():
    with pytest.raises(ValueError, match='no `masking`. Set one, such as .*RandomMasking'):
        MaskedViT(TOY, img_size=16, patch_size=4)(torch.rand(1, 3, 16, 16), mask=True)
