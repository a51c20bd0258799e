# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The vision transformer that encodes visible patches only.

B batch, C channels, H W pixels, h w the patch grid, N = h*w patches, K kept, D width, P values per patch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..layers import gather_tokens, init_linear_layers, patchify, sincos_pos_embed
from ..masking import Mask

# Named as the field names them. (mmpretrain's own 'small' is an older shape of 768 x 8.)
ARCHITECTURES: dict[str, dict[str, int]] = {
    name: dict(embed_dims=width, num_layers=depth, num_heads=heads, feedforward_channels=4 * width)
    for name, width, depth, heads in [
        ('tiny', 192, 12, 3),
        ('small', 384, 12, 6),
        ('base', 768, 12, 12),
        ('large', 1024, 24, 16),
        ('huge', 1280, 32, 16),
    ]
}
_ARCHITECTURE_KEYS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')


@MODELS.register_module()
class MaskedViT(VisionTransformer):
    """A plain ViT (https://arxiv.org/abs/2010.11929) that can leave masked patches out from the first operation on.

    Masked, only the pixels of kept patches are gathered, embedded and encoded (MAE, https://arxiv.org/abs/2111.06377).
    Unmasked, it is mmpretrain's `VisionTransformer`, with the same parameter names: a checkpoint's backbone loads
    into that as it is, also where mmdetection or mmsegmentation use it. Position embeddings are fixed sine-cosine.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', or a dict with `embed_dims`, `num_layers`, `num_heads`
            and `feedforward_channels`.
        img_size: Pixels of the input's side, or (height, width).
        patch_size: Pixels of a patch's side, which must divide the image's.
        masking: Draws which patches are kept; None for a backbone that is never masked.
        out_type: What an unmasked forward returns, as in mmpretrain.
        kwargs: Further arguments of mmpretrain's `VisionTransformer` (`drop_path_rate`, `frozen_stages`, ...).

    Shape:
        masked: (B, C, H, W) -> tokens (B, 1 + K, D) and the mask
        unmasked, `out_type='raw'`: (B, C, H, W) -> ((B, 1 + N, D),)
    """

    def __init__(
        self,
        arch: str | dict[str, int] = 'base',
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        masking: nn.Module | None = None,
        out_type: str = 'raw',
        **kwargs: Any,
    ) -> None:
        sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        _check_sizes(sides, patch_size)
        super().__init__(
            arch=_architecture(arch),
            img_size=img_size,
            patch_size=patch_size,
            out_type=out_type,
            **kwargs,
        )
        self.masking = masking
        self.patch_size = (1, patch_size, patch_size)
        self.in_channels = self.patch_embed.projection.in_channels
        self.pos_embed.requires_grad = False

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along time, height and width."""
        return (1, *self.patch_resolution)

    def init_weights(self) -> None:
        """Draws weights as MAE does: Xavier-uniform everywhere, the patch embedding as one linear layer."""
        super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        self.pos_embed.data.copy_(
            sincos_pos_embed(
                self.patch_resolution, self.embed_dims, num_prefix_tokens=self.num_extra_tokens
            )
        )
        init_linear_layers(self.layers)
        nn.init.xavier_uniform_(self.patch_embed.projection.weight.view(self.embed_dims, -1))
        nn.init.zeros_(self.patch_embed.projection.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, mask: bool = False) -> Any:
        """Encodes whole images, or with `mask` the patches that `masking` keeps: then (tokens, Mask)."""
        if not mask:
            return super().forward(x)
        if self.masking is None:
            raise ValueError(
                "This backbone has no `masking`: give it one, such as dict(type='RandomMasking')."
            )
        if x.shape[-2:] != self.img_size:
            raise ConfigError(
                f'The backbone was built for images of {self.img_size[0]}x{self.img_size[1]}, got '
                f'{x.shape[-2]}x{x.shape[-1]}. Set `model.backbone.img_size` or the crop size.'
            )
        patches = patchify(x, self.patch_size)  # (B, N, P)
        kept: Mask = self.masking(x.shape[0], patches.shape[1], x.device)
        tokens = self.embed_patches(gather_tokens(patches, kept.ids_keep))  # (B, K, D)
        positions = self.pos_embed.expand(x.shape[0], -1, -1)
        tokens = tokens + gather_tokens(positions, kept.ids_keep + self.num_extra_tokens)
        return self.encode(tokens), kept

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Applies the patch embedding to patches that were cut already.

        Shape:
            (B, K, P) -> (B, K, D)
        """
        projection = self.patch_embed.projection
        # (D, C, p, p) -> (D, p, p, C): the order of values in a patch.
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches, weight, projection.bias)

    def encode(self, tokens: Tensor) -> Tensor:
        """Runs the transformer over patch tokens that have their positions added.

        Shape:
            (B, K, D) -> (B, 1 + K, D)
        """
        if self.cls_token is not None:
            cls_token = self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat([cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        for layer in self.layers:
            tokens = layer(tokens)
        return self.ln1(tokens) if self.final_norm else tokens


def _architecture(arch: str | dict[str, int]) -> dict[str, int]:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"`arch` must be one of {', '.join(ARCHITECTURES)} or a dict, got '{arch}'."
            )
        return ARCHITECTURES[arch]
    missing = [key for key in _ARCHITECTURE_KEYS if key not in arch]
    if missing:
        raise ValueError(f'`arch` lacks {", ".join(missing)}: got {dict(arch)}.')
    if arch['embed_dims'] % arch['num_heads']:
        raise ValueError(
            f'`arch.embed_dims` {arch["embed_dims"]} must be a multiple of '
            f'`arch.num_heads` {arch["num_heads"]}.'
        )
    return arch


def _check_sizes(sides: tuple[int, ...], patch_size: int) -> None:
    for side in sides:
        if side % patch_size:
            below = side // patch_size * patch_size
            fitting = ' or '.join(str(s) for s in (below, below + patch_size) if s)
            raise ValueError(
                f'`patch_size` {patch_size} must divide `img_size`, got {side}. '
                f'Use {fitting} pixels.'
            )
