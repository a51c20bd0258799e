# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What every pretraining method has: an encoder, a way to pool its tokens, and features for evaluation.

B batch, C channels, T H W frames and pixels, K kept and M masked of N patches, D width, P values per patch.
"""

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..aggregators import MeanOverTime
from ..layers import gather_tokens, patchify
from ..masking import Mask

Part = dict[str, Any] | nn.Module


class BasePretrainer(BaseModel):
    """Pretrains a backbone without labels; a method adds its parts and its `loss`.

    Parts are configs or built modules. Widths that one part prescribes to another are filled in here.

    Args:
        backbone: Encodes the patches that its `masking` keeps.
        aggregator: Pools patch tokens to one vector.
        data_preprocessor: Brings pixels to the device and normalises them.
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
        # Built here: MMEngine's registry would find ours only where a default scope is set.
        if data_preprocessor is not None:
            data_preprocessor = build_part(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = build_part(backbone, nested=('masking',))
        self.aggregator = build_part(aggregator, in_dim=self.backbone.embed_dims)
        if getattr(self.aggregator, 'needs_prefix', False) and not self.backbone.num_extra_tokens:
            raise ValueError(
                f'{type(self.aggregator).__name__} takes the class token, and the backbone has none: '
                'set `backbone.with_cls_token=True` or use `MeanPooling`.'
            )
        self.over_time: nn.Module = MeanOverTime()  # another where `FeatureTestLoop` is told so
        self.neck: Any = None

    def build_neck(self, neck: Part) -> Any:
        """Builds the decoder that belongs to the backbone."""
        frames, height, width = self.backbone.patch_size
        return build_part(
            neck,
            in_dim=self.backbone.embed_dims,
            grid=self.backbone.grid,
            num_prefix_tokens=self.backbone.num_extra_tokens,
            patch_values=self.backbone.in_channels * frames * height * width,
        )

    def predict_hidden(self, views: Tensor, tokens: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Decodes the hidden patches of views, and cuts the true ones out.

        Shape:
            views (B, C, H, W), tokens (B, 1 + K, D) -> (B, M, P), (B, M, P)
        """
        predicted = self.neck(tokens, mask, self.backbone.grid_of(views))
        return predicted, gather_tokens(patchify(views, self.backbone.patch_size), mask.ids_masked)

    def init_weights(self) -> None:
        """Draws all weights anew, or loads those that `init_cfg` names."""
        for module in self.modules():
            # MMEngine reaches direct children and their BaseModules alone, not a target's head.
            own = not isinstance(module, BaseModule) and hasattr(module, 'init_weights')
            if own and any(p.requires_grad for p in module.parameters()):
                module.init_weights()
        with DefaultScope.overwrite_default_scope('vicmae'):  # its `Pretrained` runs no code
            super().init_weights()

    @abstractmethod
    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[DataSample] | None = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            inputs: One normalised batch (B, C, H, W) per view.
            data_samples: Not used: no labels are needed.
            seeds: A number for each sample, int64 (B,), that its masks follow from. Without them they are drawn anew.
        """

    def extract_feat(self, frames: Tensor) -> Tensor:
        """Encodes whole frames, without masking, to one vector each.

        Shape:
            (B, C, H, W) -> (B, D)
        """
        (tokens,) = self.backbone(frames)
        return self.pool(tokens)

    def extract_clip_feat(self, clips: Sequence[Tensor]) -> Tensor:
        """Encodes clips as a whole, or to what `over_time` makes of their frames: the mean; an image is one frame.

        Shape:
            B clips (T, C, H, W), of any T each where the backbone encodes images -> (B, D)
        """
        if self.backbone.takes_clips:
            return self.extract_feat(torch.stack(list(clips)).transpose(1, 2))
        features = self.extract_feat(torch.cat(list(clips)))
        return torch.cat([self.over_time(f[None]) for f in features.split([len(c) for c in clips])])

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `feature` into each data sample, for metrics that compare features."""
        for sample, feature in zip(data_samples, self.extract_clip_feat(inputs), strict=True):
            sample.set_field(feature, 'feature')
        return data_samples

    def pool(self, tokens: Tensor) -> Tensor:
        """Pools tokens to one vector.

        Shape:
            (B, 1 + K, D) -> (B, D)
        """
        return self.aggregator(*self.backbone.split_prefix(tokens))

    def reconstruct(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks frames and predicts what is hidden.

        Shape:
            (B, C, H, W) -> predicted patches (B, M, P), all true patches (B, N, P), positions predicted (B, M)
        """
        if self.neck is None:
            raise ConfigError(f'This {type(self).__name__} reconstructs nothing: it has no `neck`.')
        tokens, mask = self.backbone(frames, mask=True)
        predicted = self.neck(tokens, mask, self.backbone.grid_of(frames))
        return predicted, patchify(frames, self.backbone.patch_size), mask.ids_masked

    def forward(
        self,
        inputs: Any,
        data_samples: Sequence[DataSample] | None = None,
        mode: str = 'tensor',
        seeds: Tensor | None = None,
    ) -> Any:
        """MMEngine's entry: `mode` 'loss' in training, 'predict' in evaluation, 'tensor' for features."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, seeds)
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        if mode == 'tensor':
            return self.extract_feat(inputs)
        raise ValueError(f"`mode` must be 'loss', 'predict' or 'tensor', got '{mode}'.")

    def compile_layers(self, **options: Any) -> int:
        """Compiles each transformer layer by itself, and returns how many there are.

        Layers of one shape share what is compiled, so that a model of 24 takes as long as one of 2, and gradients
        reach other ranks layer by layer. Masks, loss weights and the loss stay outside: they are the same numbers.

        Args:
            options: Arguments of `torch.compile`.
        """
        layers = [m for m in self.modules() if isinstance(m, TransformerEncoderLayer)]
        for layer in layers:
            layer.compile(**options)
        return len(layers)

    def _dump_init_info(self, *args: Any) -> None:
        """Keeps MMEngine from writing three lines per parameter into the log."""

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning-rate decay."""
        return self.backbone.get_layer_depth(param_name, 'backbone.')


def build_part(
    part: Part,
    nested: Sequence[str] = (),
    nested_offers: dict[str, Any] | None = None,
    **offers: Any,
) -> Any:
    """Builds a part from its config, or takes it as it is where it is built already.

    Args:
        part: Config or module.
        nested: Arguments of the part that are parts themselves.
        nested_offers: What these are offered.
        offers: Arguments that the part gets where it takes them and its config doesn't give them.
    """
    if isinstance(part, nn.Module):
        return part
    if not isinstance(part, Mapping) or 'type' not in part:
        raise ConfigError(f'A part of a model is a dict with a `type`, or a module; got {part!r}.')
    part = dict(part)
    for name in nested:
        if isinstance(part.get(name), Mapping):
            part[name] = build_part(part[name], **(nested_offers or {}))
    cls = MODELS.get(part['type']) if isinstance(part['type'], str) else part['type']
    taken = inspect.signature(cls).parameters if cls is not None else {}
    return MODELS.build(part, default_args={k: v for k, v in offers.items() if k in taken})


def output_width(head: nn.Module, in_dim: int) -> int:
    """Width of what a head of linear layers returns for vectors of `in_dim`."""
    if isinstance(head, nn.Identity):
        return in_dim
    widths = [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ValueError(
            f"Can't tell the output width of {type(head).__name__}: it has no linear layer."
        )
    return widths[-1]


def require_parameter_free(aggregator: nn.Module, reason: str) -> None:
    """Refuses an aggregator with parameters where no loss would train them."""
    if any(True for _ in aggregator.parameters()):
        raise ValueError(
            f'{type(aggregator).__name__} has parameters, but {reason}, so that nothing would train them. '
            'Use `MeanPooling` or another aggregator without parameters.'
        )
