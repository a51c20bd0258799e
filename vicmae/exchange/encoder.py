# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What other libraries need to know of an encoder. B batch, C channels, T H W frames and pixels, D width."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.models.aggregators import ClsPooling, MaxPooling, MeanPooling
from vicmae.models.backbones import MaskedViT

# Poolings that other libraries have, by timm's names.
POOLINGS: dict[type, str] = {MeanPooling: 'avg', ClsPooling: 'token', MaxPooling: 'max'}
NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Encoder:
    """The encoder of a model: its backbone, its pooling, and how its pixels are normalised.

    Attributes:
        model: From `load_model`.
        config: The config of the model, `cfg.model`.
    """

    model: Any
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        backbone = getattr(self.model, 'backbone', None)
        if not isinstance(backbone, MaskedViT):
            raise ConfigError(
                f'Only a `MaskedViT` can be exported, got a model with {type(backbone).__name__}.'
            )

    @property
    def backbone(self) -> MaskedViT:
        """The vision transformer."""
        return self.model.backbone

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """All tensors of the model, in float32 or as they are."""
        return {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}

    @property
    def pooling(self) -> str | None:
        """How tokens are pooled, by timm's name. None for a pooling that timm doesn't have."""
        return POOLINGS.get(type(self.model.aggregator))

    @property
    def mean(self) -> list[float]:
        """Mean of each channel, of pixels between 0 and 1."""
        return [round(x / 255, 6) for x in self.model.data_preprocessor.mean.flatten().tolist()]

    @property
    def std(self) -> list[float]:
        """Standard deviation of each channel, of pixels between 0 and 1."""
        return [round(x / 255, 6) for x in self.model.data_preprocessor.std.flatten().tolist()]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = (n * self.backbone.patch_size[-1] for n in self.backbone.patch_resolution)
        return height, width

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.backbone.layers)

    @property
    def num_heads(self) -> int:
        """Heads of a layer's attention."""
        return self.backbone.layers[0].attn.num_heads

    @property
    def hidden_width(self) -> int:
        """Width within a layer's MLP."""
        return self.backbone.layers[0].ffn.layers[0][0].out_features

    def examples(self) -> Tensor:
        """Draws fixed pixels: uint8 (3, C, H, W), or (3, C, T, H, W) for an encoder of clips."""
        shape = [NUM_EXAMPLES, self.backbone.in_channels, *self.sides]
        if self.backbone.takes_clips:
            shape.insert(2, self.backbone.num_frames)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalises pixels as other libraries do it, by `mean` and `std`: (B, C, ...) -> (B, C, ...)."""
        return normalize(pixels, self.mean, self.std)

    @torch.no_grad()
    def encode(self, inputs: Tensor) -> Tensor:
        """Encodes normalised images (B, C, H, W) or clips (B, C, T, H, W): -> (B, D)."""
        return self.model.extract_feat(inputs)


class Features(nn.Module):
    """The encoder with its pooling as one module, for formats that store a graph."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model.extract_feat(inputs)


def normalize(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Normalises uint8 pixels (B, C, ...) by values for pixels between 0 and 1."""
    shape = (-1, *[1] * (pixels.ndim - 2))
    return (pixels.float() / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
