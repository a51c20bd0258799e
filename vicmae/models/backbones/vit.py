# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The vision transformer that encodes visible patches only.

B batch, C channels, H W pixels, h w the patch grid, N = h*w patches, K kept, D width, P values per patch.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..layers import (
    Grid,
    checkpoint_layers,
    fit_pos_embed,
    gather_tokens,
    init_linear_layers,
    patchify,
    resize_pos_embed,
    sincos_pos_embed,
    warn_of_resizing,
)
from ..masking import FrameMasking, Mask

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
        with_cp: Whether a layer's activations are computed again in the backward pass: less memory, a third more time.
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
        masking: Any = None,
        with_cp: bool = False,
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
        self.pos_embed.data.copy_(self._position_table())
        for module in self.layers.modules():
            if isinstance(
                module, DropPath
            ):  # mmpretrain's are NumPy's, which torch.compile can't branch on
                module.drop_prob = float(module.drop_prob)
        self.tells_of_resizing = True
        self._grids_met = {self.grid}
        if isinstance(masking, FrameMasking):
            warnings.warn(
                'FrameMasking hides whole frames of clips; this backbone encodes single frames, of which it hides '
                'patches at random.',
                stacklevel=2,
            )
        if masking is not None and hasattr(masking, 'count_kept'):
            masking.count_kept(math.prod(self.grid))  # refuses to keep none
        if with_cp:
            checkpoint_layers(self.layers)

    @property
    def grid(self) -> Grid:
        """Patches along time, height and width, of the size that the backbone was built for."""
        return (1, *self.patch_resolution)

    def grid_of(self, x: Tensor) -> Grid:
        """Patches along time, height and width of an input (B, C, H, W)."""
        _, height, width = self.patch_size
        return (1, x.shape[-2] // height, x.shape[-1] // width)

    def init_weights(self) -> None:
        """Draws weights as MAE does: Xavier-uniform everywhere, the patch embedding as one linear layer."""
        super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        self.pos_embed.data.copy_(self._position_table())
        init_linear_layers(self.layers)
        nn.init.xavier_uniform_(self.patch_embed.projection.weight.view(self.embed_dims, -1))
        if self.patch_embed.projection.bias is not None:
            nn.init.zeros_(self.patch_embed.projection.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, mask: bool | Mask = False) -> Any:
        """Encodes whole images; or with a mask (True: one that `masking` draws) visible patches: (tokens, Mask).

        Images of another size than `img_size` get position embeddings resized to theirs.
        """
        self._check_input(x)
        if mask is False:
            return super().forward(x)
        kept = self.draw_mask(x) if mask is True else mask
        patches = gather_tokens(patchify(x, self.patch_size), kept.ids_keep)  # (B, K, P)
        tokens = self.embed_patches(patches)  # (B, K, D)
        positions = resize_pos_embed(
            self.pos_embed,
            self.grid,
            self.grid_of(x),
            num_prefix_tokens=self.num_extra_tokens,
            mode=self.interpolate_mode,
        ).expand(x.shape[0], -1, -1)
        tokens = tokens + gather_tokens(positions, kept.ids_keep + self.num_extra_tokens)
        return self.encode(tokens), kept

    def draw_mask(self, x: Tensor, seeds: Tensor | None = None) -> Mask:
        """Draws which patches of each image are visible; with `seeds`, int64 (B,), each mask follows from its own."""
        self.require_masking()
        self._check_input(x)
        return self.masking(x.shape[0], self.grid_of(x), x.device, seeds)

    def require_masking(self) -> None:
        """Refuses to go without a masking, where patches are to be hidden."""
        if self.masking is None:
            raise ValueError(
                "This backbone has no `masking`: give it one, such as dict(type='RandomMasking')."
            )

    def split_prefix(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Parts patch tokens from those in front, as aggregators take them: (B, 1+K, D) -> (B, K, D), (B, 1, D)."""
        return tokens[:, self.num_extra_tokens :], tokens[:, : self.num_extra_tokens]

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

    def _position_table(self) -> Tensor:
        return sincos_pos_embed(
            self.patch_resolution, self.embed_dims, num_prefix_tokens=self.num_extra_tokens
        )

    def _check_input(self, x: Tensor) -> None:
        """Refuses what the patches don't divide (mmpretrain pads it), and tells once of each other size."""
        _check_sizes(x.shape[-2:], self.patch_size[-1], 'images')
        grid = self.grid_of(x)
        if grid not in self._grids_met:
            self._grids_met.add(grid)
            if self.tells_of_resizing:
                warn_of_resizing(self.grid, grid)

    def _prepare_pos_embed(self, state_dict: Any, prefix: str, *_: Any, **__: Any) -> None:
        """Fits the position embeddings of a checkpoint that was trained at another size; called on loading."""
        name = f'{prefix}pos_embed'
        if name in state_dict:
            loaded = state_dict[name]
            num_patches = self.pos_embed.shape[1] - self.num_extra_tokens
            if not self.num_extra_tokens and loaded.shape[1] == num_patches + 1:
                loaded = loaded[:, 1:]  # of a model with a class token
            state_dict[name] = fit_pos_embed(
                loaded,
                self.grid,
                num_prefix_tokens=self.num_extra_tokens,
                mode=self.interpolate_mode,
                warn=self.tells_of_resizing,
            )


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


def _check_sizes(sides: Sequence[int], patch_size: int, what: str = '`img_size`') -> None:
    if all(side % patch_size == 0 for side in sides):
        return
    fitting = []
    for side in sides:
        below = side // patch_size * patch_size
        near = [below] if below == side else [s for s in (below, below + patch_size) if s]
        fitting.append(' or '.join(map(str, near)))
    if len(set(fitting)) == 1:
        fitting = fitting[:1]
    raise ConfigError(
        f'`patch_size` {patch_size} must divide {what}, got {"x".join(map(str, sides))} pixels. '
        f'Use {" by ".join(fitting)}.'
    )
