# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""FLOPs of a training sample equal a count by hand."""

from vicmae.apis import count_flops

MAE = 'mae_vit-tiny-p8_debug'


def linear(rows, inputs, outputs):
    return 2 * rows * inputs * outputs


def layers(depth, tokens, width, hidden):
    """Pre-norm layers: queries, keys, values and projection; two products of attention; the feed-forward layers."""
    attention = 2 * 2 * tokens * tokens * width
    return depth * (
        linear(tokens, width, 4 * width) + attention + 2 * linear(tokens, width, hidden)
    )


def mae_by_hand(patches, kept, values, encoder, decoder):
    """Forward pass of MAE, and the part of it whose inputs need no gradient."""
    embed = linear(kept, values, encoder['width'])
    encoded = layers(encoder['depth'], 1 + kept, encoder['width'], encoder['hidden'])
    widths = linear(1 + kept, encoder['width'], decoder['width'])
    decoded = layers(decoder['depth'], 1 + patches, decoder['width'], 4 * decoder['width'])
    predicted = linear(patches - kept, decoder['width'], values)
    return embed + encoded + widths + decoded + predicted, embed


def test_flops_of_mae_are_those_counted_by_hand():
    forward, embed = mae_by_hand(
        patches=64,
        kept=16,
        values=3 * 8 * 8,
        encoder=dict(width=64, depth=2, hidden=128),
        decoder=dict(width=32, depth=1),
    )
    counted = count_flops(MAE)
    assert set(counted) == {'images', 'videos'}
    for cost in counted.values():
        assert cost.forward == forward
        # Each product has two in the backward pass, one by its inputs: pixels need none.
        assert cost.backward == 2 * forward - embed
        assert cost.total == cost.forward + cost.backward


def test_flops_of_a_classifier_are_those_counted_by_hand():
    forward = linear(64, 192, 64) + layers(2, 1 + 64, 64, 128) + linear(1, 64, 4)
    (cost,) = count_flops('vicmae_vit-tiny-p8_finetune_debug').values()
    assert (cost.forward, cost.backward) == (forward, 2 * forward - linear(64, 192, 64))
