# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Small models of clips as their papers describe them, with the parameter names of the public checkpoints.

They are written here to check converted weights against, and share nothing with vicmae's models. `visible` is a bool
tensor (B, N), in grid order, as are all tokens.

B batch, N patches, K visible, M masked, D width, E width of the decoder, P predicted values per patch.
"""

import math
from functools import partial

import torch
from torch import nn

TUBELET, NUM_FRAMES, NUM_HEADS = 2, 16, 2
NUM_TIMES = NUM_FRAMES // TUBELET
Norm = partial(nn.LayerNorm, eps=1e-6)


def sinusoid(num_positions, width):
    """Computes the positions of "Attention is all you need", number by number: (1, N, D)."""
    rows = [
        [
            (math.sin, math.cos)[j % 2](position / 10000 ** (2 * (j // 2) / width))
            for j in range(width)
        ]
        for position in range(num_positions)
    ]
    return torch.tensor(rows)[None]


class Attention(nn.Module):
    """Attends with heads one by one. `projection`: 'joined' (with a bias), 'no bias', 'no key bias' or 'separate'."""

    def __init__(self, width, projection):
        super().__init__()
        if projection == 'separate':
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in 'qkv')
        else:
            self.qkv = nn.Linear(width, 3 * width, bias=projection == 'joined')
        if projection == 'no key bias':
            self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(width)) for _ in 'qv')
        self.projection = projection
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        if self.projection == 'separate':
            q, k, v = self.q(x), self.k(x), self.v(x)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.projection == 'no key bias':
            q, v = q + self.q_bias, v + self.v_bias
        outputs = []
        for q_head, k_head, v_head in zip(
            *(t.chunk(NUM_HEADS, dim=-1) for t in (q, k, v)), strict=True
        ):
            scores = q_head @ k_head.mT / q_head.shape[-1] ** 0.5
            outputs.append(scores.softmax(dim=-1) @ v_head)
        return self.proj(torch.cat(outputs, dim=-1))


class Block(nn.Module):
    def __init__(self, width, projection):
        super().__init__()
        self.norm1 = Norm(width)
        self.attn = Attention(width, projection)
        self.norm2 = Norm(width)
        self.mlp = nn.ModuleDict(
            dict(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


def blocks(depth, width, projection):
    return nn.Sequential(*(Block(width, projection) for _ in range(depth)))


def convolution(width, side):
    size = (TUBELET, side, side)
    return nn.Conv3d(3, width, size, size)


def flat(features):
    """(B, D, t, h, w) -> (B, N, D)."""
    return features.flatten(2).mT


def pick(tokens, chosen):
    """(B, N, D), (B, N) -> (B, K, D)."""
    return tokens[chosen].unflatten(0, (len(chosen), -1))


class VideoMAE(nn.Module):
    """https://arxiv.org/abs/2203.12602, and VideoMAEv2: positions are computed, and no class token."""

    def __init__(self, image_size=224, side=56, width=16, decoder_width=8):
        super().__init__()
        num_patches = NUM_TIMES * (image_size // side) ** 2
        self.encoder = nn.ModuleDict(
            dict(
                patch_embed=nn.ModuleDict(dict(proj=convolution(width, side))),
                blocks=blocks(2, width, 'no key bias'),
                norm=Norm(width),
            )
        )
        self.encoder_to_decoder = nn.Linear(width, decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder = nn.ModuleDict(
            dict(
                blocks=blocks(1, decoder_width, 'no key bias'),
                norm=Norm(decoder_width),
                head=nn.Linear(decoder_width, 3 * TUBELET * side**2),
            )
        )
        self.register_buffer('positions', sinusoid(num_patches, width), persistent=False)
        self.register_buffer(
            'decoder_positions', sinusoid(num_patches, decoder_width), persistent=False
        )

    def encode(self, pixels, visible):
        tokens = flat(self.encoder.patch_embed.proj(pixels)) + self.positions
        return self.encoder.norm(self.encoder.blocks(pick(tokens, visible)))

    def predict(self, encoded, visible):
        positions = self.decoder_positions.expand(len(visible), -1, -1)
        seen = self.encoder_to_decoder(encoded) + pick(positions, visible)
        hidden = self.mask_token + pick(positions, ~visible)
        x = self.decoder.blocks(torch.cat([seen, hidden], dim=1))
        return self.decoder.head(self.decoder.norm(x[:, seen.shape[1] :]))


class FineTunedVideoMAE(nn.Module):
    def __init__(self, image_size=224, side=56, width=16, num_classes=3):
        super().__init__()
        self.patch_embed = nn.ModuleDict(dict(proj=convolution(width, side)))
        self.blocks = blocks(2, width, 'no key bias')
        self.fc_norm = Norm(width)
        self.head = nn.Linear(width, num_classes)
        num_patches = NUM_TIMES * (image_size // side) ** 2
        self.register_buffer('positions', sinusoid(num_patches, width), persistent=False)

    def forward(self, pixels):
        tokens = self.blocks(flat(self.patch_embed.proj(pixels)) + self.positions)
        return self.head(self.fc_norm(tokens.mean(dim=1)))


class MAEST(nn.Module):
    """https://arxiv.org/abs/2205.09113: learned separable positions, and a class token in encoder and decoder."""

    def __init__(self, image_size=16, side=4, width=16, decoder_width=8, num_classes=None):
        super().__init__()
        num_places = (image_size // side) ** 2
        self.patch_embed = nn.ModuleDict(dict(proj=convolution(width, side)))
        self.blocks = blocks(2, width, 'separate')
        self.norm = Norm(width)
        self._add_tokens('', num_places, width)
        if num_classes is not None:
            self.head = nn.Linear(width, num_classes)
            return
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self._add_tokens('decoder_', num_places, decoder_width)
        self.decoder_blocks = blocks(1, decoder_width, 'separate')
        self.decoder_norm = Norm(decoder_width)
        # One of the two frames of a patch is predicted.
        self.decoder_pred = nn.Linear(decoder_width, 3 * side**2)

    def _add_tokens(self, stem, num_places, width):
        for name, rows in {
            'cls_token': 1,
            'pos_embed_class': 1,
            'pos_embed_spatial': num_places,
            'pos_embed_temporal': NUM_TIMES,
        }.items():
            self.register_parameter(stem + name, nn.Parameter(torch.zeros(1, rows, width)))

    def _with_positions(self, stem, tokens, visible):
        """Adds positions, and the class token in front."""
        space, time, prefix, cls_token = (
            getattr(self, stem + name)
            for name in ('pos_embed_spatial', 'pos_embed_temporal', 'pos_embed_class', 'cls_token')
        )
        positions = torch.cat([space + time[:, i : i + 1] for i in range(NUM_TIMES)], dim=1)
        tokens = pick(tokens + positions, visible)
        return torch.cat([(cls_token + prefix).expand(len(tokens), -1, -1), tokens], dim=1)

    def _encode(self, pixels, visible):
        tokens = flat(self.patch_embed.proj(pixels))
        return self.blocks(self._with_positions('', tokens, visible))[:, 1:]

    def encode(self, pixels, visible):
        return self.norm(self._encode(pixels, visible))

    def forward(self, pixels):
        visible = torch.ones(len(pixels), NUM_TIMES * self.pos_embed_spatial.shape[1]).bool()
        return self.head(self.norm(self._encode(pixels, visible).mean(dim=1)))

    def predict(self, encoded, visible):
        tokens = self.mask_token.repeat(*visible.shape, 1)
        tokens[visible] = self.decoder_embed(encoded).flatten(0, 1)
        x = self.decoder_blocks(self._with_positions('decoder_', tokens, visible | True))
        return pick(self.decoder_pred(self.decoder_norm(x))[:, 1:], ~visible)


class OmniMAE(nn.Module):
    """https://arxiv.org/abs/2206.08356: an image is a still clip of one patch in time, and no class token."""

    def __init__(
        self,
        image_size=16,
        side=4,
        width=16,
        decoder_width=8,
        num_classes=None,
        decoder_projection='no bias',  # as in the released models; the config of their training has biases
    ):
        super().__init__()
        num_patches = NUM_TIMES * (image_size // side) ** 2
        trunk = nn.Module()
        # The first module repeats images.
        trunk.patch_embed = nn.ModuleDict(
            dict(proj=nn.ModuleList([nn.Identity(), convolution(width, side)]))
        )
        trunk.blocks = blocks(2, width, 'joined')
        trunk.norm = Norm(width)
        trunk.register_buffer('pos_embed', sinusoid(num_patches, width))
        self.trunk = trunk
        if num_classes is not None:
            self.head = nn.Linear(width, num_classes)
            return
        trunk.mask_token = nn.Parameter(torch.zeros(1, width))
        trunk.decoder = nn.Module()
        trunk.decoder.register_buffer('pos_embed', sinusoid(num_patches, width))
        trunk.decoder.decoder_embed = nn.Linear(width, decoder_width)
        trunk.decoder.decoder_blocks = blocks(1, decoder_width, decoder_projection)
        trunk.decoder.norm = Norm(decoder_width)
        self.head = nn.Linear(decoder_width, 3 * TUBELET * side**2)

    def _embed(self, pixels):
        if pixels.ndim == 4:
            pixels = torch.stack([pixels] * TUBELET, dim=2)
        tokens = flat(self.trunk.patch_embed.proj[1](pixels))
        return tokens + self.trunk.pos_embed[:, : tokens.shape[1]]

    def encode(self, pixels, visible):
        return self.trunk.norm(self.trunk.blocks(pick(self._embed(pixels), visible)))

    def forward(self, pixels):
        return self.head(self.trunk.norm(self.trunk.blocks(self._embed(pixels)).mean(dim=1)))

    def predict(self, encoded, visible):
        # Mask tokens have the width of the encoder.
        decoder = self.trunk.decoder
        tokens = self.trunk.mask_token.repeat(*visible.shape, 1)
        tokens[visible] = encoded.flatten(0, 1)
        x = decoder.decoder_embed(tokens + decoder.pos_embed[:, : tokens.shape[1]])
        return self.head(decoder.norm(pick(decoder.decoder_blocks(x), ~visible)))
