# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Base class of pretrainers, classifiers and probes: a backbone and a pooling.

B batch, C channels, T H W frames and pixels, t h w the patch grid, K kept of N patches, D width.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.structures import Clips, Views, as_one_kind, is_mixed

from .aggregators import MeanOverTime
from .parts import Part, build_part, call_part

DataSamples = Sequence[DataSample] | None


class FeatureModel(BaseModel):
    """Encodes images and clips to one vector each.

    Parts are configs or built modules. Widths that depend on another part are filled in.

    Args:
        backbone: Encodes all patches, or those that its `masking` keeps.
        aggregator: Pools patch tokens to one vector.
        data_preprocessor: Moves pixels to the device and normalises them.
        init_cfg: MMEngine's initialisation, such as `dict(type='Pretrained', checkpoint=...)`.
    """

    def __init__(
        self,
        *,
        backbone: Part,
        aggregator: Part,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Built here, since MMEngine's registry finds vicmae's parts only with a default scope.
        if data_preprocessor is not None:
            data_preprocessor = build_part(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = build_part(backbone, nested=('masking',))
        self.aggregator = build_part(aggregator, in_dim=self.backbone.embed_dims)
        if getattr(self.aggregator, 'needs_prefix', False) and not self.backbone.num_extra_tokens:
            raise ValueError(
                f'{type(self.aggregator).__name__} uses the class token, but the backbone has none. '
                'Set `backbone.with_cls_token=True` or use `MeanPooling`.'
            )
        self.over_time: nn.Module = MeanOverTime()
        self.joins_time_steps = False  # of a backbone of clips; see `join_over_time`

    def init_weights(self) -> None:
        """Initialises all weights, or loads those in `init_cfg`."""
        for module in self.modules():
            # MMEngine initialises only direct children and their BaseModules, not the head of a target.
            missed = not isinstance(module, BaseModule) and hasattr(module, 'init_weights')
            if missed and any(p.requires_grad for p in module.parameters()):
                module.init_weights()
        # vicmae's `Pretrained` runs no code of a checkpoint.
        with DefaultScope.overwrite_default_scope('vicmae'):
            super().init_weights()

    @abstractmethod
    def loss(
        self, inputs: Any, data_samples: DataSamples = None, seeds: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            inputs: Normalised images (B, C, H, W) or clips (B, T, C, H, W); in pretraining one batch per view.
            data_samples: Labels of the samples. None in pretraining.
            seeds: Seeds of the samples' masks, int64 (B,). None for random masks.
        """

    def mixed_loss(self, batches: Sequence[Views | Clips]) -> dict[str, Tensor]:
        """Computes the losses of a mixed batch, each the mean over all of its samples.

        All kinds of data train the same parameters, so ranks may have different numbers of each kind, or none of one.
        With batches of equal size, the mean over the ranks is the loss of one rank. What is logged of one kind only is
        the mean over the samples of this kind.

        Args:
            batches: The batch of each kind.
        """
        batches = [as_one_kind(batch) for batch in batches]
        losses = [self.loss(**batch) for batch in batches]
        means = {}
        for name in dict.fromkeys(chain.from_iterable(losses)):
            with_name = [
                (len(b), v[name]) for b, v in zip(batches, losses, strict=True) if name in v
            ]
            # A loss counts as 0 for other kinds: its weight must not depend on the kinds that a rank has.
            counted = map(len, batches) if 'loss' in name else (n for n, _ in with_name)
            num_samples = sum(counted)
            means[name] = torch.stack([n / num_samples * value for n, value in with_name]).sum(0)
        return means

    def extract_feat(self, frames: Tensor) -> Tensor:
        """Encodes frames without masking, to one vector each: (B, C, H, W) -> (B, D)."""
        (tokens,) = self.backbone(frames)
        return self.pool(tokens)

    def join_over_time(self, over_time: nn.Module) -> None:
        """Sets the module that joins the features of a clip's frames: (B, T, D) -> (B, D).

        For a backbone of clips, it joins the time steps of its grid. The aggregator pools the tokens of each.
        """
        self.joins_time_steps = self.backbone.takes_clips
        if self.joins_time_steps and getattr(self.aggregator, 'needs_prefix', False):
            raise ConfigError(
                f'`over_time` joins the pooled tokens of each time step, but {type(self.aggregator).__name__} takes '
                'the class token, and a clip has one for all time steps. Set `model.aggregator.type=MeanPooling`, or '
                '`test_cfg.over_time=None`.'
            )
        self.over_time = over_time

    def extract_clip_feat(self, clips: Sequence[Tensor]) -> Tensor:
        """Encodes clips, or pools the features of their frames with `over_time`: B times (T, C, H, W) -> (B, D).

        An image is a clip of one frame. Clips may differ in T, and for a backbone of clips also in H and W.
        """
        if self.backbone.takes_clips:
            encode = self._join_steps if self.joins_time_steps else self.extract_feat
            return encode_by_shape(lambda same: encode(same.transpose(1, 2)), clips)
        features = self.extract_feat(torch.cat(list(clips)))
        return torch.cat([self.over_time(f[None]) for f in features.split([len(c) for c in clips])])

    def _join_steps(self, clips: Tensor) -> Tensor:
        """Encodes clips, pools each time step, and joins these: (B, C, T, H, W) -> (B, D)."""
        return self.over_time(self.extract_step_feat(clips.transpose(1, 2)))

    def extract_step_feat(self, clips: Tensor) -> Tensor:
        """Encodes each frame, or for a backbone of clips each time step of its grid: (B, T, C, H, W) -> (B, t, D)."""
        if not self.backbone.takes_clips:
            return self.extract_feat(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        if getattr(self.aggregator, 'needs_prefix', False):
            raise ConfigError(
                f'{type(self.aggregator).__name__} takes the class token, and a clip has one for all time steps: there '
                'are no features of single steps. Set `model.aggregator.type=MeanPooling`.'
            )
        patches = self.extract_grid_feat(clips)
        steps = patches.flatten(2, 3).flatten(0, 1)  # (B*t, h*w, D)
        no_prefix = steps.new_empty(len(steps), 0, steps.shape[2])
        pooled = call_part('aggregator', self.aggregator, steps, no_prefix, returns='(B, D)')
        return pooled.unflatten(0, patches.shape[:2])

    def extract_grid_feat(self, clips: Tensor) -> Tensor:
        """Encodes clips of one length to the vectors of their patches: (B, T, C, H, W) -> (B, t, h, w, D).

        For a backbone of images, each frame is a time step.
        """
        takes_clips = self.backbone.takes_clips
        inputs = clips.transpose(1, 2) if takes_clips else clips.flatten(0, 1)
        (tokens,) = self.backbone(inputs)
        patches = self.backbone.split_prefix(tokens)[0]
        num_times, height, width = self.backbone.grid_of(inputs)
        return patches.reshape(
            len(clips), num_times if takes_clips else -1, height, width, patches.shape[-1]
        )

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Adds `feature` to each data sample, for metrics that compare features."""
        for sample, feature in zip(data_samples, self.extract_clip_feat(inputs), strict=True):
            sample.set_field(feature, 'feature')
        return data_samples

    def pool(self, tokens: Tensor) -> Tensor:
        """Pools tokens to one vector: (B, 1 + K, D) -> (B, D)."""
        split = self.backbone.split_prefix(tokens)
        return call_part('aggregator', self.aggregator, *split, returns='(B, D)')

    def forward(
        self,
        inputs: Any,
        data_samples: DataSamples = None,
        mode: str = 'tensor',
        seeds: Tensor | None = None,
        **items: Any,
    ) -> Any:
        """Runs MMEngine's modes: 'loss' in training, 'predict' in evaluation, 'tensor' for features.

        The `loss` of pretraining also gets the `times` of views, if the batch has them.
        """
        if mode == 'loss' and is_mixed(inputs):
            return self._checked(self.mixed_loss(inputs))
        if mode == 'loss':
            return self._checked(self.loss(inputs, data_samples, seeds, **items))
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        if mode == 'tensor':
            return self.extract_feat(inputs)
        raise ValueError(f"`mode` must be 'loss', 'predict' or 'tensor', got '{mode}'.")

    def _checked(self, losses: Any) -> dict[str, Tensor]:
        """Names the class if its `loss` returns no dict with something to minimise."""
        if not isinstance(losses, dict) or not any('loss' in name for name in losses):
            held = list(losses) if isinstance(losses, dict) else f'a {type(losses).__name__}'
            raise ConfigError(
                f'`{type(self).__name__}.loss` must return a dict of scalars with at least one key that contains '
                f"'loss', got {held}."
            )
        return losses

    def compile_layers(self, **options: Any) -> int:
        """Compiles each transformer layer separately with options of `torch.compile`. Returns the number of layers.

        Layers of one shape share the compiled code, and gradients are reduced over ranks layer by layer.
        """
        layers = [m for m in self.modules() if isinstance(m, TransformerEncoderLayer)]
        for layer in layers:
            layer.compile(**options)
        return len(layers)

    def _dump_init_info(self, *args: Any) -> None:
        """Keeps MMEngine from logging three lines per parameter."""

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Returns the depth of a parameter, for layer-wise learning-rate decay."""
        return self.backbone.get_layer_depth(param_name, 'backbone.')


def encode_by_shape(encode: Callable[[Tensor], Tensor], clips: Sequence[Tensor]) -> Tensor:
    """Encodes clips of one shape together: B times (T, C, H, W) -> (B, D), in their order.

    Args:
        encode: Encodes clips of one shape: (n, T, C, H, W) -> (n, D).
        clips: The clips.
    """
    groups: dict[torch.Size, list[int]] = {}
    for number, clip in enumerate(clips):
        groups.setdefault(clip.shape, []).append(number)
    features = [encode(torch.stack([clips[i] for i in group])) for group in groups.values()]
    if len(groups) == 1:
        return features[0]
    order = torch.tensor([i for group in groups.values() for i in group]).argsort()
    return torch.cat(features)[order.to(features[0].device)]
