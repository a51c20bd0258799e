# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Vision transformer of images and clips, which can encode visible patches only.

B batch, C channels, T H W frames and pixels, t h w the patch grid, N = t*h*w patches, K kept, D width, P values per
patch.
"""

import math
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import DefaultScope
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vicmae.checkpoints.convert.options import clip_options
from vicmae.errors import CheckpointError, ConfigError
from vicmae.registry import MODELS
from vicmae.utils.vit import SIZES

from ..layers import (
    INFLATIONS,
    TIME_TABLES,
    Grid,
    as_clip,
    attention_weights,
    check_pos_embed_type,
    checkpoint_layers,
    fit_patch_embed,
    fit_position_tables,
    gather_tokens,
    grid_positions,
    init_linear_layers,
    patchify,
    space_table,
    time_table,
    warn_of_resizing,
)
from ..masking import FrameMasking, Mask

ARCHITECTURES: dict[str, dict[str, int]] = {
    name: dict(embed_dims=width, num_layers=depth, num_heads=heads, feedforward_channels=4 * width)
    for name, (width, depth, heads) in SIZES.items()
}
_ARCHITECTURE_KEYS = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')


@MODELS.register_module()
class MaskedViT(VisionTransformer):
    """Encodes patches by a plain ViT (https://arxiv.org/abs/2010.11929), all of them or only visible ones.

    With a mask, only the kept patches are embedded and encoded (MAE, https://arxiv.org/abs/2111.06377). Without one, it
    is mmpretrain's `VisionTransformer`, with the same parameter names: mmdetection and mmsegmentation can load its
    weights into that model. Position embeddings are fixed sine-cosine.

    With `num_frames` above 1 it encodes clips: patches are tubelets, and each attends to the whole clip. Checkpoints of
    image models load into clip models, and back. With the weights of an image model, a clip of equal frames has the
    features of one frame: position embeddings in time are learned, start at zero and are added to those in space, and
    the input has one copy of the class token per time step of the grid (one is returned). A clip model encodes images
    too: it repeats them to a tubelet, so that their grid has one time step.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', or a dict with `embed_dims`, `num_layers`, `num_heads`
            and `feedforward_channels`.
        img_size: Size of the input in pixels: of a side, or (height, width).
        patch_size: Pixels of a patch's side, which must divide `img_size`.
        num_frames: Number of frames of a clip, 1 for images. By default 1, or 16 if `tubelet_size` is above 1. For
            clips of other lengths, position embeddings are interpolated.
        tubelet_size: Number of frames of a patch, which must divide `num_frames`.
        pos_embed_type: Position embeddings of clips. 'separable' learns a vector for each time step of the grid,
            'joint' one for each time step and position in space; both are added to the fixed ones in space. 'sinusoid'
            is fixed: a 1D table over all patches in grid order, as in VideoMAE and OmniMAE. An image has the positions
            of time step 0.
        learn_pos_embed: Whether positions in space are trained too, that of the class token among them. All positions
            then start with random values (MAE-ST).
        repeat_cls_token: Whether clips have one copy of the class token per time step. False for a single one (MAE-ST):
            image models then don't load into clip models exactly.
        inflation: How the patch embedding of an image model is loaded for clips: 'average' distributes it over the
            frames of a tubelet, 'centre' assigns it to the middle frame.
        resize_positions: Whether position embeddings are interpolated for inputs of another size than `img_size`. By
            default such an input is an error, except with `out_type='featmap'`, which detectors use.
        masking: Draws which patches are kept, such as `RandomMasking`. None for a backbone that is never masked.
        with_cp: Whether to use activation checkpointing in each layer: less memory, a third more time.
        out_type: Output without a mask, as in mmpretrain: 'raw', 'cls_token', 'featmap' or 'avg_featmap'. A 'featmap'
            of clips has the shape (B, D, t, h, w).
        kwargs: Further arguments of mmpretrain's `VisionTransformer` (`drop_path_rate`, `frozen_stages`, ...).

    Shape:
        masked: (B, C, H, W) or (B, C, T, H, W) -> tokens (B, 1 + K, D) and the mask
        unmasked, `out_type='raw'`: (B, C, H, W) or (B, C, T, H, W) -> ((B, 1 + N, D),)
    """

    follows: ClassVar = dict(
        arch='model_size', img_size='image_size', patch_size='patch_size', num_frames='num_frames'
    )

    def __init__(
        self,
        arch: str | dict[str, int] = 'base',
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        num_frames: int | None = None,
        tubelet_size: int = 1,
        pos_embed_type: str = 'separable',
        learn_pos_embed: bool = False,
        repeat_cls_token: bool = True,
        inflation: str = 'average',
        resize_positions: bool | None = None,
        masking: Any = None,
        with_cp: bool = False,
        out_type: str = 'raw',
        **kwargs: Any,
    ) -> None:
        sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        _check_sizes(sides, patch_size)
        if num_frames is None:
            num_frames = 16 if tubelet_size > 1 else 1
        _check_frames(num_frames, tubelet_size)
        check_pos_embed_type(pos_embed_type, learn_pos_embed)
        _check_choice('inflation', inflation, INFLATIONS)
        super().__init__(
            arch=_architecture(arch),
            img_size=img_size,
            patch_size=patch_size,
            out_type=out_type,
            **kwargs,
        )
        self.masking = masking
        self.patch_size = (tubelet_size, patch_size, patch_size)
        self.num_frames = num_frames
        self.pos_embed_type = pos_embed_type
        self.learn_pos_embed = learn_pos_embed
        self.repeat_cls_token = repeat_cls_token
        self.inflation = inflation
        self.resize_positions = (
            out_type == 'featmap' if resize_positions is None else resize_positions
        )
        self.in_channels = self.patch_embed.projection.in_channels
        self.pos_embed.requires_grad = learn_pos_embed and self.frozen_stages <= 0
        self.pos_embed.data.copy_(self._position_table())
        if self.takes_clips:
            self._extend_along_time()
        for module in self.layers.modules():
            if isinstance(module, DropPath):
                # mmpretrain's are NumPy numbers, on which torch.compile can't branch.
                module.drop_prob = float(module.drop_prob)
        self.warns_of_resizing = True
        self._known_grids = {self.grid}
        if isinstance(masking, FrameMasking) and self.grid[0] == 1:
            warnings.warn(
                'FrameMasking hides whole frames of clips, but this backbone encodes single frames: it hides '
                'random patches of them.',
                stacklevel=2,
            )
        # A masking without this method may be a user's.
        if hasattr(masking, 'require_kept'):
            masking.require_kept(self.grid)
        if with_cp:
            checkpoint_layers(self.layers)

    def _extend_along_time(self) -> None:
        """Replaces the patch embedding by that of tubelets, and adds position embeddings in time."""
        has_bias = self.patch_embed.projection.bias is not None
        # Only its weights are used. `patchify` and `embed_patches` compute the embedding.
        self.patch_embed.projection = nn.Conv3d(
            self.in_channels, self.embed_dims, self.patch_size, self.patch_size, bias=has_bias
        )
        table = nn.Parameter(time_table(self.pos_embed_type, self.grid, self.embed_dims))
        self.register_parameter(TIME_TABLES[self.pos_embed_type], table)
        table.requires_grad = self.pos_embed_type != 'sinusoid'
        if self.frozen_stages > 0:
            table.requires_grad = False
            self.patch_embed.requires_grad_(False)

    @property
    def _time_table(self) -> nn.Parameter | None:
        return getattr(self, TIME_TABLES[self.pos_embed_type]) if self.takes_clips else None

    @property
    def takes_clips(self) -> bool:
        """Whether this is a clip model."""
        return self.num_frames > 1

    @property
    def grid(self) -> Grid:
        """Number of patches along time, height and width, for the configured size."""
        return (self.num_frames // self.patch_size[0], *self.patch_resolution)

    def grid_of(self, x: Tensor) -> Grid:
        """Returns the number of patches along time, height and width of an input (B, C, H, W) or (B, C, T, H, W)."""
        frames, height, width = self.patch_size
        num_times = max(as_clip(x).shape[2] // frames, 1)
        return num_times, x.shape[-2] // height, x.shape[-1] // width

    def patches_of(self, x: Tensor) -> Tensor:
        """Cuts an input into the patches that are encoded, in grid order: (B, C, H, W) or (B, C, T, H, W) -> (B, N, P).

        An image becomes a still clip of one tubelet.
        """
        clips = as_clip(x)
        if clips.shape[2] == 1:
            clips = clips.expand(-1, -1, self.patch_size[0], -1, -1)
        return patchify(clips, self.patch_size)

    def init_weights(self) -> None:
        """Initialises weights as in MAE: Xavier-uniformly, the patch embedding like a linear layer."""
        # vicmae's `Pretrained` runs no code of a checkpoint.
        with DefaultScope.overwrite_default_scope('vicmae'):
            super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        self._init_positions()
        init_linear_layers(self.layers)
        nn.init.xavier_uniform_(self.patch_embed.projection.weight.view(self.embed_dims, -1))
        if self.patch_embed.projection.bias is not None:
            nn.init.zeros_(self.patch_embed.projection.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def _init_positions(self) -> None:
        if self.learn_pos_embed:
            for table in (self.pos_embed, self._time_table):
                if table is not None:
                    nn.init.trunc_normal_(table, std=0.02)
            return
        self.pos_embed.data.copy_(self._position_table())
        if self._time_table is not None:
            self._time_table.data.copy_(time_table(self.pos_embed_type, self.grid, self.embed_dims))

    def _dump_init_info(self, *args: Any) -> None:
        """Keeps MMEngine from logging three lines per parameter."""

    def forward(self, x: Tensor, mask: bool | Mask = False) -> Any:
        """Encodes whole inputs; or, with a mask (True: drawn by `masking`), visible patches: returns (tokens, Mask)."""
        self._check_input(x)
        if mask is False and not self.takes_clips:
            return super().forward(as_clip(x).squeeze(2))
        grid = self.grid_of(x)
        patches, positions = self.patches_of(x), self.positions(grid)
        if mask is False:
            outputs = self._run_layers(self.embed_patches(patches) + positions, grid[0])
            return tuple(
                self._format_output(tokens, grid)
                for i, tokens in enumerate(outputs)
                if i in self.out_indices
            )
        kept = self.draw_mask(x) if mask is True else mask
        tokens = self.embed_patches(gather_tokens(patches, kept.ids_keep))  # (B, K, D)
        tokens = tokens + gather_tokens(positions.expand(x.shape[0], -1, -1), kept.ids_keep)
        return self.encode(tokens, grid[0]), kept

    def draw_mask(self, x: Tensor, seeds: Tensor | None = None) -> Mask:
        """Draws the visible patches of each sample, from its seed if `seeds`, int64 (B,), is given."""
        self.require_masking()
        self._check_input(x)
        return self.masking(x.shape[0], self.grid_of(x), x.device, seeds)

    def require_masking(self) -> None:
        """Raises a ValueError if the backbone has no masking."""
        if self.masking is None:
            raise ValueError(
                "This backbone has no `masking`. Set one, such as dict(type='RandomMasking')."
            )

    def split_prefix(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Splits tokens into patch tokens and prefix tokens, for aggregators: (B, 1+K, D) -> (B, K, D), (B, 1, D)."""
        return tokens[:, self.num_extra_tokens :], tokens[:, : self.num_extra_tokens]

    def embed_patches(self, patches: Tensor) -> Tensor:
        """Embeds patches: (B, K, P) -> (B, K, D)."""
        projection = self.patch_embed.projection
        # (D, C, [t,] p, p) -> (D, [t,] p, p, C), the order of values in a patch.
        weight = projection.weight.movedim(1, -1).flatten(1)
        return F.linear(patches, weight, projection.bias)

    def positions(self, grid: Grid) -> Tensor:
        """Returns the position embeddings of a grid's patches, in grid order: (1, N, D)."""
        positions = grid_positions(
            self.pos_embed,
            self._time_table,
            self.pos_embed_type,
            self.grid,
            grid,
            num_prefix_tokens=self.num_extra_tokens,
            mode=self.interpolate_mode,
        )
        return positions[:, self.num_extra_tokens :]

    def encode(self, tokens: Tensor, num_times: int = 1) -> Tensor:
        """Encodes patch tokens with positions, of a grid with `num_times` time steps: (B, K, D) -> (B, 1 + K, D)."""
        (encoded,) = deque(self._run_layers(tokens, num_times), maxlen=1)
        return encoded

    def encode_with_attention(self, x: Tensor, layer: int = -1) -> tuple[Tensor, Tensor]:
        """Encodes whole inputs, and returns all tokens and what they attend to in a layer, by default the last.

        Copies of the class token count as one column.

        Shape:
            (B, C, H, W) or (B, C, T, H, W) -> tokens (B, 1 + N, D), rows that sum to 1 (B, heads, 1 + N, 1 + N)
        """
        depth = len(self.layers)
        if not -depth <= layer < depth:
            raise ValueError(f'`layer` must be from {-depth} to {depth - 1}, got {layer}.')
        self._check_input(x)
        grid = self.grid_of(x)
        embedded = self.embed_patches(self.patches_of(x)) + self.positions(grid)
        attention, inputs = self.layers[layer].attn, []
        with attention.register_forward_pre_hook(lambda _, args: inputs.append(args[0])):
            tokens = self.encode(embedded, grid[0])
        weights = attention_weights(attention, *inputs)
        num_copies = weights.shape[-1] - tokens.shape[1]
        copies, weights = weights[..., num_copies:, :].tensor_split([num_copies], dim=-1)
        if num_copies:
            weights[..., 0] += copies.sum(dim=-1)
        return tokens, weights

    def _run_layers(self, tokens: Tensor, num_times: int) -> Iterator[Tensor]:
        """Yields the output of each layer, the last one normalised: (B, K, D) -> (B, 1 + K, D)."""
        num_copies = 0
        if self.cls_token is not None:
            # With t times as many patches, a single class token would get 1/t of its attention in the image model. The
            # copies are equal in every layer, so one of them is returned.
            num_copies = num_times - 1 if self.repeat_cls_token else 0
            cls_token = self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat([cls_token.expand(len(tokens), 1 + num_copies, -1), tokens], dim=1)
        tokens = self.pre_norm(self.drop_after_pos(tokens))
        for depth, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens)
            if depth == len(self.layers) and self.final_norm:
                tokens = self.ln1(tokens)
            yield tokens[:, num_copies:]

    def _format_output(self, x: Tensor, hw: Sequence[int]) -> Tensor:
        """Extends mmpretrain's method to grids with time: `hw` is the grid."""
        if self.out_type == 'featmap' and len(hw) == 3:
            return x[:, self.num_extra_tokens :].unflatten(1, tuple(hw)).movedim(-1, 1)
        return super()._format_output(x, hw)

    def _position_table(self) -> Tensor:
        return space_table(
            self.pos_embed_type, self.grid, self.embed_dims, num_prefix_tokens=self.num_extra_tokens
        )

    def _check_input(self, x: Tensor) -> None:
        """Refuses sizes that patches don't divide (mmpretrain pads them), and warns once about each new size."""
        if x.ndim == 5 and x.shape[1] != self.in_channels:
            raise ConfigError(
                f'Clips are (B, C, T, H, W) with C = {self.in_channels}, got {tuple(x.shape)}. '
                'If frames come before channels, use `clips.transpose(1, 2)`.'
            )
        _check_sizes(x.shape[-2:], self.patch_size[-1], 'images')
        num_frames, tubelet_size = as_clip(x).shape[2], self.patch_size[0]
        if num_frames == 1:
            num_frames = tubelet_size  # an image is repeated
        elif not self.takes_clips:
            raise ConfigError(
                f'This backbone encodes images (`num_frames=1`), got clips of {num_frames} frames. Set '
                f'`backbone.num_frames={num_frames}`, or pass frames as images: (B*T, C, H, W).'
            )
        if num_frames % tubelet_size:
            raise ConfigError(
                f'`tubelet_size` {tubelet_size} must divide the frames of clips, got {num_frames}. '
                f'Use {_multiples_near(num_frames, tubelet_size)}.'
            )
        grid = self.grid_of(x)
        if grid not in self._known_grids:
            if grid[1:] != self.grid[1:] and not self.resize_positions:
                raise ConfigError(self._size_message(x))
            self._known_grids.add(grid)
            is_image = as_clip(x).shape[2] == 1  # expected, not a clip of another length
            if self.warns_of_resizing and not (is_image and grid[1:] == self.grid[1:]):
                warn_of_resizing(self.grid, grid)

    def _size_message(self, x: Tensor) -> str:
        """Returns an error message with both sizes, and how to make them equal."""
        arrives = 'x'.join(str(side) for side in x.shape[-2:])
        built_for = 'x'.join(str(n * self.patch_size[-1]) for n in self.grid[1:])
        return (
            f'The backbone is built for {built_for} pixels, but the input has {arrives}. Set `image_size` at the top '
            'of the config: crops and backbone follow it unless they set another value. To interpolate the position '
            'embeddings instead, set `model.backbone.resize_positions=True`.'
        )

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Fits weights of another input size, or of an image model for clips and back, in place."""
        weight = state_dict.get(f'{prefix}patch_embed.projection.weight')
        table = state_dict.get(f'{prefix}pos_embed')
        if table is not None and table.ndim == 3:
            has_cls_token = f'{prefix}cls_token' in state_dict
            rows, num_patches = table.shape[1], math.prod(self.patch_resolution)
            if self.num_extra_tokens and not has_cls_token and rows == num_patches:
                raise CheckpointError(self._no_cls_token_message(clip_options(state_dict, prefix)))
            if not self.num_extra_tokens and (has_cls_token or rows == num_patches + 1):
                state_dict[f'{prefix}pos_embed'] = table[:, 1:]
            fit_position_tables(
                state_dict,
                prefix,
                pos_embed_type=self.pos_embed_type,
                grid=self.grid,
                has_time=self.takes_clips,
                num_prefix_tokens=self.num_extra_tokens,
                from_image=weight is not None and weight.ndim == 4,
                mode=self.interpolate_mode,
                warn=self.warns_of_resizing,
            )
        if weight is not None and weight.ndim in (4, 5):
            tubelet_size = self.patch_size[0] if self.takes_clips else None
            state_dict[f'{prefix}patch_embed.projection.weight'] = fit_patch_embed(
                weight, tubelet_size, self.inflation, warn=self.warns_of_resizing
            )

    def _no_cls_token_message(self, options: dict[str, Any]) -> str:
        """Returns an error message with all options in which this model differs from the checkpoint's."""
        known = dict(pos_embed_type=self.pos_embed_type, tubelet_size=self.patch_size[0])
        if self.takes_clips:
            # Positions are fitted to clips of any length.
            known['num_frames'] = options.get('num_frames', self.num_frames)
        needed = [f'model.backbone.{k}={v}' for k, v in options.items() if known.get(k) != v]
        return (
            'The backbone of the checkpoint has no class token, as in VideoMAE and OmniMAE. Set all of: '
            f'`--cfg-options {" ".join(needed)}`.'
        )

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter and the number of depths, for layer-wise learning-rate decay."""
        depth, depths = super().get_layer_depth(param_name, prefix)
        # Otherwise positions in time are new when image weights are fine-tuned on clips.
        is_table = param_name == f'{prefix}{TIME_TABLES[self.pos_embed_type]}'
        return (0 if is_table and self.learn_pos_embed else depth), depths

    def _prepare_pos_embed(self, state_dict: Any, prefix: str, *_: Any, **__: Any) -> None:
        """Fits weights in mmpretrain's load hook, for other models with this backbone, such as detectors."""
        # Sharded weights were fitted before.
        if not isinstance(state_dict.get(f'{prefix}pos_embed'), DTensor):
            self.fit_checkpoint(state_dict, prefix)


def _architecture(arch: str | dict[str, int]) -> dict[str, int]:
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"`arch` must be one of {', '.join(ARCHITECTURES)} or a dict, got '{arch}'."
            )
        return ARCHITECTURES[arch]
    missing = [key for key in _ARCHITECTURE_KEYS if key not in arch]
    if missing:
        raise ValueError(f'`arch` must have {", ".join(missing)}, got {dict(arch)}.')
    if arch['embed_dims'] % arch['num_heads']:
        raise ValueError(
            f'`arch.embed_dims` {arch["embed_dims"]} must be a multiple of '
            f'`arch.num_heads` {arch["num_heads"]}.'
        )
    return arch


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"`{name}` must be one of {', '.join(choices)}, got '{value}'.")


def _check_frames(num_frames: int, tubelet_size: int) -> None:
    for name, value in (('num_frames', num_frames), ('tubelet_size', tubelet_size)):
        if value < 1:
            raise ConfigError(f'`{name}` must be at least 1, got {value}. Use 1 for images.')
    if num_frames % tubelet_size:
        raise ConfigError(
            f'`tubelet_size` {tubelet_size} must divide `num_frames`, got {num_frames}. '
            f'Set `model.backbone.num_frames` to {_multiples_near(num_frames, tubelet_size)}.'
        )


def _check_sizes(sides: Sequence[int], patch_size: int, sides_name: str = '`img_size`') -> None:
    if all(side % patch_size == 0 for side in sides):
        return
    fitting = [_multiples_near(side, patch_size) for side in sides]
    if len(set(fitting)) == 1:
        fitting = fitting[:1]
    raise ConfigError(
        f'`patch_size` {patch_size} must divide {sides_name}, got {"x".join(map(str, sides))} pixels. '
        f'Use {" by ".join(fitting)}.'
    )


def _multiples_near(size: int, divisor: int) -> str:
    """Returns the size if it is a multiple, else the next smaller and larger multiple."""
    below = size // divisor * divisor
    multiples = [below] if below == size else [s for s in (below, below + divisor) if s]
    return ' or '.join(map(str, multiples))
