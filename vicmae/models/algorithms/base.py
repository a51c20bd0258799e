# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Base class of pretraining methods.

B batch, C channels, H W pixels, K kept and M masked of N patches, P values per patch.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vicmae.errors import ConfigError, DataError
from vicmae.structures import Views

from ..feature_model import FeatureModel
from ..layers import PatchSize, gather_tokens
from ..losses import LatentPredictionLoss
from ..masking import Mask
from ..parts import Part, build_part, call_part
from ..targets import EMATeacher


class BasePretrainer(FeatureModel):
    """Pretrains a backbone without labels. Subclasses add their parts and their `loss`.

    Args:
        model: Arguments of `FeatureModel`.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.neck: Any = None

    @property
    def pixel_loss(self) -> Any:
        """Loss of predicted and true patches. None for a method without a decoder."""
        return None

    @property
    def teachers(self) -> dict[str, EMATeacher]:
        """Parts with an EMA teacher, by their path."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, EMATeacher) and module.followed
        }

    def init_weights(self) -> None:
        """Initialises all weights, or loads those in `init_cfg`. Teachers start as copies of the student."""
        super().init_weights()
        # A pretrained checkpoint may contain a teacher.
        if (self.init_cfg or {}).get('type') != 'Pretrained':
            self.update_target(momentum=0.0)

    def update_target(self, momentum: float | None = None, skipped: Tensor | None = None) -> None:
        """Moves EMA teachers, if there are any, towards the student, unless `skipped` is 1."""
        for teacher in self.teachers.values():
            teacher.update(self, momentum, skipped)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Adds teachers, equal to the student, to a checkpoint without them, in place."""
        for name, teacher in self.teachers.items():
            teacher.start_in_checkpoint(state_dict, f'{prefix}{name}.', student=prefix)

    def join_views(self, inputs: Sequence[Tensor]) -> Tensor:
        """Concatenates views of one shape, view 1's samples first: V times (B, C, H, W) -> (V*B, C, H, W)."""
        views = Views(inputs).inputs
        if len({view.shape for view in views}) > 1:
            raise DataError(
                f'{type(self).__name__} encodes all views together, so they must have one shape, got '
                f'{" and ".join(str(tuple(view.shape)) for view in views)}. Make views of one size. Images and clips '
                'are two batches of `mixed_loss`.'
            )
        return torch.cat(views)

    def build_neck(self, neck: Part) -> Any:
        """Builds the decoder that fits the backbone, and the EMA encoder whose tokens it predicts, if any."""
        if isinstance(self.pixel_loss, LatentPredictionLoss):
            self.pixel_loss.follow(self, backbone='backbone')
        return build_part(
            neck,
            in_dim=self.backbone.embed_dims,
            grid=self.backbone.grid,
            num_prefix_tokens=self.backbone.num_extra_tokens,
            pos_embed_type=self.backbone.pos_embed_type,
            learn_pos_embed=self.backbone.learn_pos_embed,
            patch_values=self.predicted_values,
        )

    @property
    def predicted_values(self) -> int:
        """Number of values that the decoder predicts for each patch, P: pixels, or the width of a token."""
        if isinstance(self.pixel_loss, LatentPredictionLoss):
            return self.backbone.embed_dims
        return self.backbone.in_channels * math.prod(self.predicted_patch_size)

    @property
    def predicted_patch_size(self) -> PatchSize:
        """Frames, rows and columns of what is predicted for a patch."""
        return self.backbone.patch_size

    def true_patches(self, views: Tensor) -> Tensor:
        """Returns the true pixels of each patch, in grid order: (B, C, H, W) -> (B, N, P)."""
        return self.backbone.patches_of(views)

    def true_masked(self, views: Tensor, mask: Mask) -> Tensor:
        """Returns what the decoder shall predict: (B, C, H, W) -> (B, M, P)."""
        if isinstance(self.pixel_loss, LatentPredictionLoss):
            return gather_tokens(self.pixel_loss.encode(views), mask.ids_masked)
        return gather_tokens(self.true_patches(views), mask.ids_masked)

    def predict_hidden(self, views: Tensor, tokens: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Returns the predicted and the true masked patches, (B, M, P) each."""
        return self._decode(tokens, mask, views), self.true_masked(views, mask)

    def require_decoder(self) -> None:
        """Raises a ConfigError if no pixels can be reconstructed."""
        if self.neck is None:
            raise ConfigError(
                f'This {type(self).__name__} has no `neck`, so it cannot reconstruct patches.'
            )
        if isinstance(self.pixel_loss, LatentPredictionLoss):
            raise ConfigError(
                'LatentPredictionLoss makes the decoder predict tokens, which are no pictures. Give a config with a '
                '`PixelReconstructionLoss`.'
            )

    def reconstruct(
        self, frames: Tensor, seeds: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks frames and predicts the masked patches. With `seeds`, (B,), each sample's mask depends on its seed.

        Shape:
            (B, C, H, W) -> predicted patches (B, M, P), all true patches (B, N, P), their positions (B, M)
        """
        self.require_decoder()
        tokens, mask = self.backbone(frames, self.backbone.draw_mask(frames, seeds))
        predicted = self._decode(tokens, mask, frames)
        return predicted, self.true_patches(frames), mask.ids_masked

    def _decode(self, tokens: Tensor, mask: Mask, views: Tensor) -> Tensor:
        grid = self.backbone.grid_of(views)
        return call_part('neck', self.neck, tokens, mask, grid, returns='(B, M, P)')
