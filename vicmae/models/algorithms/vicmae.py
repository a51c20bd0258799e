# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE.

V views, B batch, C channels, H W pixels, K kept and M masked patches, D width, E embedding.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..feature_model import DataSamples
from ..heads.mlp import apply_per_view
from ..losses import CosineLoss
from ..masking import Mask, seeds_of_views
from ..parts import Part, build_part, output_width, require_parameter_free
from ..targets import EMATarget, SharedTarget, StopGradientTarget
from .base import BasePretrainer


@MODELS.register_module()
class ViCMAE(BasePretrainer):
    """Visual representations from images and videos by contrastive masked autoencoding.

    `ViC-MAE <https://arxiv.org/abs/2303.12001>`_: one ViT encodes the visible patches of two distant frames of a video,
    or of two views of an image. A decoder reconstructs the masked patches of each view; a predictor finds each view's
    partner in the batch from the pooled tokens. See docs/concepts/method.md.

    Either loss can be switched off: `head.reconstruction=None` leaves out the neck, `head.contrastive=None` the
    projector, predictor and target.

    Args:
        head: Computes the losses.
        neck: Predicts the masked patches from the encoded ones.
        target: Makes the embeddings that predictions are compared with.
        projector: Maps pooled tokens to embeddings, for predictions and for a target without its own head.
        predictor: Maps these further, for predictions only. With no projector it is the paper's P.
        contrastive_cache: Encodes the batch in parts, so that it can be larger than memory allows at once.
        model: Arguments of `FeatureModel`; the backbone needs a `masking`.

    Example:
        >>> from vicmae.apis import load_config
        >>> cfg = load_config('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
        >>> model = MODELS.build(cfg.model)
        >>> losses = model.loss([torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)])
    """

    def __init__(
        self,
        *,
        head: Part,
        neck: Part | None = None,
        target: Part | None = None,
        projector: Part | None = None,
        predictor: Part | None = None,
        contrastive_cache: Part | None = None,
        **model: Any,
    ) -> None:
        super().__init__(**model)
        self.backbone.require_masking()
        self.target: Any = None
        self.head = build_part(head, nested=('reconstruction', 'contrastive'))
        if self.head.reconstruction is not None:
            self.neck = self.build_neck(_require_part(neck, 'neck', 'reconstruction'))
        if self.head.contrastive is not None:
            target = _require_part(target, 'target', 'contrastive')
            self._build_branches(projector, predictor, target)
        else:
            require_parameter_free(self.aggregator, '`head.contrastive` is None')
        self.contrastive_cache = build_part(contrastive_cache) if contrastive_cache else None

    def _build_branches(self, projector: Part | None, predictor: Part | None, target: Part) -> None:
        width = self.backbone.embed_dims
        self.projector = nn.Identity() if projector is None else build_part(projector, in_dim=width)
        projected = output_width(self.projector, width)
        identity = nn.Identity()
        self.predictor = identity if predictor is None else build_part(predictor, in_dim=projected)
        self.target = build_part(target, nested=('head',), nested_offers=dict(in_dim=width))
        self._require_equal_widths()
        if isinstance(self.head.contrastive, CosineLoss) and isinstance(self.target, SharedTarget):
            keeper = 'nothing' if self.head.reconstruction is None else 'only the reconstruction'
            print_log(
                f'CosineLoss with a SharedTarget: {keeper} keeps embeddings from becoming all the same (collapse). '
                'SimSiam has a StopGradientTarget, BYOL an EMATarget.',
                'current',
                logging.WARNING,
            )
        if isinstance(self.target, EMATarget):
            self.target.follow(*self.online)

    def _require_equal_widths(self) -> None:
        if not isinstance(self.target, (SharedTarget, StopGradientTarget, EMATarget)):
            return  # a user's own target: the width that it returns is not known here
        pooled = self.backbone.embed_dims
        projected = output_width(self.projector, pooled)
        predicted = output_width(self.predictor, projected)
        head = getattr(self.target, 'head', None)
        embedded = predicted if self.embedder is self.predictor else projected
        wanted = embedded if head is None else output_width(head, pooled)
        if predicted != wanted:
            raise ValueError(
                f"Predictions have {predicted} values and targets {wanted}: they can't be compared. Set `out_dim` "
                f'of the last head of the student (projector or predictor) to {wanted}'
                + ('.' if head is None else ', or change `target.head.out_dim`.')
            )

    @property
    def pixel_loss(self) -> Any:
        """The loss that compares patches."""
        return self.head.reconstruction

    @property
    def embedder(self) -> nn.Module:
        """Maps pooled tokens to embeddings: the projector, or the predictor where there is no projector."""
        return self.predictor if isinstance(self.projector, nn.Identity) else self.projector

    @property
    def online(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """The modules that an EMA teacher averages, from pixels to embeddings."""
        return self.backbone, self.aggregator, self.embedder

    def init_weights(self) -> None:
        """Draws all weights, or loads those that `init_cfg` names; a teacher starts as a copy of its student."""
        super().init_weights()
        # A pretrained checkpoint may hold its own teacher.
        if (self.init_cfg or {}).get('type') != 'Pretrained':
            self.update_target(momentum=0.0)

    def update_target(self, momentum: float | None = None, skipped: Tensor | None = None) -> None:
        """Moves an EMA teacher towards its student, unless `skipped` is 1. Other targets have none."""
        if isinstance(self.target, EMATarget):
            self.target.update(*self.online, momentum=momentum, skipped=skipped)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Adds a teacher that equals the student to a checkpoint without one, in place."""
        if not isinstance(self.target, EMATarget) or any(
            key.startswith(f'{prefix}target.backbone.') for key in state_dict
        ):
            return
        embedder = 'predictor' if self.embedder is self.predictor else 'projector'
        for student in ('backbone', 'aggregator', embedder):
            teacher = 'embedder' if student == embedder else student
            for key in [key for key in state_dict if key.startswith(f'{prefix}{student}.')]:
                name = key.removeprefix(f'{prefix}{student}.')
                state_dict[f'{prefix}target.{teacher}.{name}'] = state_dict[key].clone()

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: DataSamples = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch of view pairs."""
        views = torch.cat(list(inputs))  # (V*B, C, H, W), view 1's samples first
        mask = self.backbone.draw_mask(views, seeds_of_views(seeds, len(inputs)))
        if self.contrastive_cache is None:
            encoded = {**self.encode(views, mask), **self.teach(views, mask)}
        else:
            encoded = self.contrastive_cache(self.encode, self.teach, views, mask)
        losses = {name: value for name, value in encoded.items() if value.ndim == 0}
        if self.target is not None:
            per_view = {  # (V, B, D)
                name: value.unflatten(0, (len(inputs), -1))
                for name, value in encoded.items()
                if name not in losses
            }
            losses['contrastive'] = self.contrast(**per_view)
        return self.head.weigh(**losses)

    def encode(self, views: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Encodes views: their pooled tokens, and the reconstruction loss of their masked patches.

        Shape:
            (R, C, H, W) -> `reconstruction` (), `pooled` (R, D); for any R of the V*B rows
        """
        encoded = {}
        tokens, _ = self.backbone(views, mask)  # (R, 1+K, D)
        if self.neck is not None:
            predicted, patches = self.predict_hidden(views, tokens, mask)  # (R, M, P) each
            encoded['reconstruction'] = self.head.reconstruction(predicted, patches)
        if self.target is not None:
            encoded['pooled'] = self.pool(tokens)
        return encoded

    def teach(self, views: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Pools the tokens of the EMA teacher, if there is one: rows (R, C, H, W) -> `teacher` (R, D)."""
        if not isinstance(self.target, EMATarget):
            return {}
        return {'teacher': self.target.encode(views, mask)}

    def contrast(self, pooled: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Compares predictions with targets, from tokens of student and teacher pooled to (V, B, D)."""
        projected = apply_per_view(self.projector, pooled)  # (V, B, E)
        predictions = apply_per_view(self.predictor, projected)
        embedded = predictions if self.embedder is self.predictor else projected
        targets = self.target(pooled, embedded, teacher)
        return self.head.contrastive(predictions, targets)


def _require_part(part: Part | None, name: str, loss: str) -> Part:
    if part is None:
        raise ValueError(
            f'`head.{loss}` needs a `{name}`, got None. Give one, or switch the loss off with '
            f'`head.{loss}=None`.'
        )
    return part
