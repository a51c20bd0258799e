# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.checkpoints.fit import load_weights
from vicmae.models.layers import (
    TIME_TABLES,
    resize_pos_embed,
    sincos_pos_embed,
)
from vicmae.models.masking import RandomMasking, TubeMasking
from vicmae.models.necks import MAEDecoder
from vicmae.testing import peak_memory, randomize
from vicmae.utils.vit import sinusoid_pos_embed

GRID = (1, 3, 5)


def toy_decoder(grid=GRID, depth=2, **kwargs):
    decoder = MAEDecoder(
        in_dim=12, grid=grid, patch_values=6, embed_dim=16, depth=depth, num_heads=2, **kwargs
    )
    decoder.init_weights()
    return randomize(decoder).eval()


def decode_slowly(decoder, tokens, mask):
    """One sample at a time, all patches in grid order with the same weights, then the masked ones."""
    predicted = []
    for sample, ids_keep in zip(tokens, mask.ids_keep.tolist(), strict=True):
        sequence = [decoder.decoder_embed(sample[0])]
        for n in range(GRID[1] * GRID[2]):
            if n in ids_keep:
                sequence.append(decoder.decoder_embed(sample[1 + ids_keep.index(n)]))
            else:
                sequence.append(decoder.mask_token[0, 0])
        x = torch.stack(sequence)[None] + sincos_pos_embed(GRID[1:], 16, num_prefix_tokens=1)
        for block in decoder.decoder_blocks:
            x = block(x)
        everything = decoder.decoder_pred(decoder.decoder_norm(x))[0, 1:]
        hidden = [n for n in range(GRID[1] * GRID[2]) if n not in ids_keep]
        predicted.append(torch.stack([everything[n] for n in hidden]))
    return torch.stack(predicted)


def test_predictions_equal_decoding_everything_and_then_selecting_in_grid_order():
    decoder = toy_decoder()
    mask = RandomMasking(0.6)(4, (1, 3, 5), torch.device('cpu'))
    tokens = torch.randn(4, 7, 12)
    predicted = decoder(tokens, mask)
    assert predicted.shape == (4, 9, 6)
    torch.testing.assert_close(predicted, decode_slowly(decoder, tokens, mask))


def test_predictions_do_not_depend_on_the_order_of_visible_tokens():
    decoder = toy_decoder()
    masking = RandomMasking(0.6)
    noise = torch.rand(1, 15)
    masking.noise = lambda *_: noise
    mask = masking(1, (1, 3, 5), torch.device('cpu'))
    tokens = torch.randn(1, 7, 12)
    # Another draw that keeps the same patches, from the highest noise to the lowest.
    noise = torch.where(mask.visible, -noise, noise + 1)
    flipped = masking(1, (1, 3, 5), torch.device('cpu'))
    assert flipped.ids_keep.tolist() == mask.ids_keep.flip(1).tolist()
    reordered = torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], dim=1)
    torch.testing.assert_close(decoder(reordered, flipped), decoder(tokens, mask))


def test_every_trainable_parameter_gets_a_gradient():
    decoder = toy_decoder()
    mask = RandomMasking(0.6)(4, (1, 3, 5), torch.device('cpu'))
    decoder(torch.randn(4, 7, 12), mask).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        if name == 'decoder_pos_embed':
            assert not parameter.requires_grad
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_nothing_masked_predicts_nothing():
    mask = RandomMasking(0)(2, (1, 3, 5), torch.device('cpu'))
    assert toy_decoder()(torch.randn(2, 16, 12), mask).shape == (2, 0, 6)


def test_weights_are_initialised_as_in_mae():
    decoder = MAEDecoder(in_dim=12, grid=GRID, patch_values=6, embed_dim=512, depth=1, num_heads=2)
    decoder.init_weights()
    assert 0.017 < decoder.mask_token.std().item() < 0.023
    assert decoder.decoder_pred.bias.eq(0).all()
    assert torch.equal(
        decoder.decoder_pos_embed, sincos_pos_embed(GRID[1:], 512, num_prefix_tokens=1)
    )


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match='`embed_dim` 16 of the decoder must be a multiple of .*3'):
        MAEDecoder(in_dim=12, grid=GRID, patch_values=6, embed_dim=16, depth=1, num_heads=3)


def test_positions_are_interpolated_to_another_grid():
    decoder = toy_decoder()
    grid = (1, 6, 4)
    mask = RandomMasking(0.5)(2, grid, torch.device('cpu'))
    other = toy_decoder(grid=grid)
    tokens = torch.randn(2, 13, 12)
    other.load_state_dict({**decoder.state_dict(), 'decoder_pos_embed': other.decoder_pos_embed})
    other.decoder_pos_embed.data = resize_pos_embed(
        decoder.decoder_pos_embed, GRID, grid, num_prefix_tokens=1
    )
    torch.testing.assert_close(decoder(tokens, mask, grid), other(tokens, mask))


def test_checkpoint_of_another_grid_loads_with_its_positions_interpolated():
    trained, decoder = toy_decoder(), toy_decoder(grid=(1, 6, 10))
    load_weights(decoder, trained.state_dict(), source='a.pth')
    expected = resize_pos_embed(trained.decoder_pos_embed, GRID, (1, 6, 10), num_prefix_tokens=1)
    assert torch.equal(decoder.decoder_pos_embed, expected)


def test_checkpointed_layers_give_the_same_gradients_at_less_memory():
    mask, tokens = RandomMasking(0.6)(4, GRID, torch.device('cpu')), torch.randn(4, 7, 12)
    gradients, memory = [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        decoder = toy_decoder(depth=8, with_cp=with_cp)

        def step(decoder=decoder):
            decoder(tokens, mask).square().sum().backward()

        memory.append(peak_memory(step))
        gradients.append([p.grad for p in decoder.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert memory[1] < 0.5 * memory[0]


# Clips: every type of position embeddings, against the same weights on all patches.
CLIP_GRID = (3, 2, 4)


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint', 'sinusoid'])
@pytest.mark.parametrize('num_prefix_tokens', [0, 1])
def test_clips_are_decoded_as_all_patches_then_the_masked_ones(pos_embed_type, num_prefix_tokens):
    decoder = toy_decoder(
        CLIP_GRID, pos_embed_type=pos_embed_type, num_prefix_tokens=num_prefix_tokens
    )
    mask = TubeMasking(0.5)(2, CLIP_GRID, torch.device('cpu'))
    tokens = torch.randn(2, num_prefix_tokens + 12, 12)
    x = decoder.decoder_embed(tokens)
    prefix, visible = x[:, :num_prefix_tokens], x[:, num_prefix_tokens:]
    places = mask.ids_keep.unsqueeze(-1).expand(-1, -1, 16)
    patches = decoder.mask_token.repeat(2, 24, 1).scatter(1, places, visible)
    if pos_embed_type == 'sinusoid':
        patches = patches + sinusoid_pos_embed(24, 16)
    else:
        table = getattr(decoder, f'decoder_{TIME_TABLES[pos_embed_type]}')
        space = sincos_pos_embed((2, 4), 16)
        along_time = table.unflatten(1, (3, -1)).expand(-1, -1, 8, -1).flatten(1, 2)
        patches = patches + space.repeat(1, 3, 1) + along_time
    x = torch.cat([prefix, patches], dim=1)
    for block in decoder.decoder_blocks:
        x = block(x)
    everything = decoder.decoder_pred(decoder.decoder_norm(x))[:, num_prefix_tokens:]
    expected = everything[~mask.visible].unflatten(0, (2, 12))
    torch.testing.assert_close(decoder(tokens, mask), expected)


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint'])
def test_grid_of_one_time_step_has_the_decoder_of_images(pos_embed_type):
    decoder, image_decoder = toy_decoder(pos_embed_type=pos_embed_type), toy_decoder()
    names = list(image_decoder.state_dict())
    assert list(decoder.state_dict()) == names
    assert not [name for name in names if 'temporal' in name or 'cls_token' in name]
    decoder.load_state_dict(image_decoder.state_dict())
    mask, tokens = RandomMasking(0.6)(4, GRID, torch.device('cpu')), torch.randn(4, 7, 12)
    assert torch.equal(decoder(tokens, mask), image_decoder(tokens, mask))


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint', 'sinusoid'])
@pytest.mark.parametrize('grid', [(3, 3, 3), (2, 3, 3), (1, 3, 3), (5, 3, 3), (3, 4, 6)])
def test_clip_checkpoint_of_another_grid_decodes_as_its_own_decoder_on_that_grid(
    pos_embed_type, grid
):
    trained = toy_decoder((3, 3, 3), pos_embed_type=pos_embed_type)
    decoder = toy_decoder(grid, pos_embed_type=pos_embed_type)
    load_weights(decoder, trained.state_dict(), source='a.pth')
    if grid[0] == 1 and pos_embed_type != 'sinusoid':
        along_time = trained.positions((3, 3, 3))[:, 1:].unflatten(1, (3, 9)).mean(1)
        torch.testing.assert_close(decoder.positions(grid)[:, 1:], along_time)
    else:
        torch.testing.assert_close(decoder.positions(grid), trained.positions(grid))


def test_decoder_of_images_loads_for_clips():
    trained, decoder = toy_decoder((1, 2, 4)), toy_decoder(CLIP_GRID)
    load_weights(decoder, trained.state_dict(), source='a.pth')
    expected = trained.positions((1, 2, 4))
    expected = torch.cat([expected, expected[:, 1:], expected[:, 1:]], dim=1)
    torch.testing.assert_close(decoder.positions(CLIP_GRID), expected)


def test_own_class_token_needs_one_of_the_encoder():
    with pytest.raises(ValueError, match='`own_cls_token` replaces .* has 0 of them. Set'):
        toy_decoder(num_prefix_tokens=0, own_cls_token=True)


def test_checkpointed_and_half_precision_decoders_of_clips_give_the_same_predictions():
    plain, decoder = toy_decoder(CLIP_GRID), toy_decoder(CLIP_GRID, with_cp=True)
    decoder.load_state_dict(plain.state_dict())
    mask = TubeMasking(0.5)(2, CLIP_GRID, torch.device('cpu'))
    tokens = torch.randn(2, 13, 12)
    expected = plain(tokens, mask)
    assert torch.equal(decoder.train()(tokens, mask), expected)
    with torch.autocast('cpu', torch.bfloat16):
        rough = plain(tokens, mask).float()
    assert (rough - expected).norm() < 0.05 * expected.norm()
