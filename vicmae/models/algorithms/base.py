# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Base class of pretraining methods.

B batch, C channels, H W pixels, K kept and M masked of N patches, P values per patch.
"""

from typing import Any

from torch import Tensor

from vicmae.errors import ConfigError

from ..feature_model import FeatureModel
from ..layers import gather_tokens, patchify
from ..masking import Mask
from ..parts import Part, build_part, call_part


class BasePretrainer(FeatureModel):
    """Pretrains a backbone without labels. Subclasses add their parts and their `loss`.

    Args:
        model: Arguments of `FeatureModel`.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.neck: Any = None

    def build_neck(self, neck: Part) -> Any:
        """Builds the decoder that fits the backbone."""
        frames, height, width = self.backbone.patch_size
        return build_part(
            neck,
            in_dim=self.backbone.embed_dims,
            grid=self.backbone.grid,
            num_prefix_tokens=self.backbone.num_extra_tokens,
            patch_values=self.backbone.in_channels * frames * height * width,
        )

    def predict_hidden(self, views: Tensor, tokens: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Returns the predicted and the true masked patches, (B, M, P) each."""
        predicted = self._decode(tokens, mask, views)
        return predicted, gather_tokens(patchify(views, self.backbone.patch_size), mask.ids_masked)

    def reconstruct(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks frames and predicts the masked patches.

        Shape:
            (B, C, H, W) -> predicted patches (B, M, P), all true patches (B, N, P), their positions (B, M)
        """
        if self.neck is None:
            raise ConfigError(
                f'This {type(self).__name__} has no `neck`, so it cannot reconstruct patches.'
            )
        tokens, mask = self.backbone(frames, mask=True)
        predicted = self._decode(tokens, mask, frames)
        return predicted, patchify(frames, self.backbone.patch_size), mask.ids_masked

    def _decode(self, tokens: Tensor, mask: Mask, views: Tensor) -> Tensor:
        grid = self.backbone.grid_of(views)
        return call_part('neck', self.neck, tokens, mask, grid, returns='(B, M, P)')
