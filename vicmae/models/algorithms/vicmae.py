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

from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.structures import Clips, Views, as_one_kind

from ..contrastive_cache import join_parts
from ..feature_model import DataSamples
from ..heads import TimedPredictor, apply_per_view
from ..losses import CosineLoss
from ..masking import Mask, seeds_of_views
from ..parts import Part, build_part, call_part, output_width, require_parameter_free
from ..targets import EMATarget, SharedTarget, StopGradientTarget
from .base import BasePretrainer


@MODELS.register_module()
class ViCMAE(BasePretrainer):
    """Learns visual representations from images and videos by contrastive masked autoencoding.

    `ViC-MAE <https://arxiv.org/abs/2303.12001>`_: one ViT encodes the visible patches of two distant frames of a video,
    or of two views of an image. A decoder reconstructs the masked patches of each view. A contrastive loss matches
    the pooled tokens of the two views within the batch. See docs/concepts/method.md.

    Either loss can be disabled: `head.reconstruction=None` also drops the neck, `head.contrastive=None` the projector,
    the predictor and the target.

    Args:
        head: Losses and their weights, a `ViCMAEHead`.
        neck: Decoder that predicts the masked patches from the encoded ones, such as `MAEDecoder`.
        target: Computes the embeddings with which predictions are compared.
        projector: Maps pooled tokens to embeddings, for predictions and for targets without a head.
        predictor: Maps these embeddings to predictions. Without a projector, it is the paper's P.
        contrast_patches: Whether the contrastive loss compares the visible patches of the two views, each with the most
            similar one of the other view, instead of pooled tokens. The heads then map each patch. It needs an
            `InfoNCELoss`.
        contrastive_cache: A `ContrastiveCache` encodes the batch in parts, so that it can be larger than memory allows.
        model: Arguments of `FeatureModel`. The backbone needs a `masking`.

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
        contrast_patches: bool = False,
        contrastive_cache: Part | None = None,
        **model: Any,
    ) -> None:
        super().__init__(**model)
        self.backbone.require_masking()
        self.target: Any = None
        self.contrast_patches = contrast_patches
        losses = ('reconstruction', 'contrastive', 'order')
        width = self.backbone.embed_dims
        offers = dict(in_dim=width, tubelet_size=self.predicted_patch_size[0])
        self.head = build_part(head, nested=losses, nested_offers=offers)
        if self.head.reconstruction is not None:
            self.neck = self.build_neck(_require_part(neck, 'neck', 'reconstruction'))
        if self.head.contrastive is not None:
            target = _require_part(target, 'target', 'contrastive')
            self._build_branches(projector, predictor, target)
        if not self.pools_tokens:
            why = 'is None' if self.target is None else 'compares patches'
            require_parameter_free(self.aggregator, f'`head.contrastive` {why}')
        self.contrastive_cache = build_part(contrastive_cache) if contrastive_cache else None

    def _build_branches(self, projector: Part | None, predictor: Part | None, target: Part) -> None:
        width = self.backbone.embed_dims
        self.projector = nn.Identity() if projector is None else build_part(projector, in_dim=width)
        projected = output_width(self.projector, width)
        offers: Any = dict(in_dim=projected)  # also to the predictor inside a `TimedPredictor`
        identity = nn.Identity()
        self.predictor = (
            identity if predictor is None else build_part(predictor, nested_offers=offers, **offers)
        )
        self.target = build_part(target, nested=('head',), nested_offers=dict(in_dim=width))
        self._require_equal_widths()
        self._require_targets_without_time()
        if self.contrast_patches:
            self._require_parts_for_patches()
        if isinstance(self.head.contrastive, CosineLoss) and isinstance(self.target, SharedTarget):
            keeper = 'nothing' if self.head.reconstruction is None else 'only the reconstruction'
            print_log(
                f'CosineLoss with a SharedTarget: {keeper} prevents a collapse (equal embeddings). '
                'Use a StopGradientTarget, as in SimSiam, or an EMATarget, as in BYOL.',
                'current',
                logging.WARNING,
            )
        if isinstance(self.target, EMATarget):
            embedder = 'predictor' if self.embedder is self.predictor else 'projector'
            self.target.follow(
                self, backbone='backbone', aggregator='aggregator', embedder=embedder
            )

    def _require_equal_widths(self) -> None:
        if not isinstance(self.target, (SharedTarget, StopGradientTarget, EMATarget)):
            return  # the width of a user's target is unknown
        pooled = self.backbone.embed_dims
        projected = output_width(self.projector, pooled)
        predicted = output_width(self.predictor, projected)
        head = getattr(self.target, 'head', None)
        embedded = predicted if self.embedder is self.predictor else projected
        target_width = embedded if head is None else output_width(head, pooled)
        if predicted != target_width:
            raise ValueError(
                f"Predictions have width {predicted}, targets {target_width}: they can't be compared. Set `out_dim` "
                f'of the last head of the student (projector or predictor) to {target_width}'
                + ('.' if head is None else ', or change `target.head.out_dim`.')
            )

    def _require_targets_without_time(self) -> None:
        has_head = getattr(self.target, 'head', None) is not None
        if self.predicts_with_time and self.embedder is self.predictor and not has_head:
            raise ValueError(
                f'{type(self.target).__name__} would compare a TimedPredictor with its own output, and the time alone '
                'would tell which views belong together. Add a `projector`, or a `target.head` of a `SharedTarget`.'
            )

    def _require_parts_for_patches(self) -> None:
        if not getattr(self.head.contrastive, 'compares_patches', False):
            needed, got = 'an `InfoNCELoss` as `head.contrastive`', self.head.contrastive
        elif isinstance(self.target, EMATarget):  # it pools tokens
            needed, got = 'a `SharedTarget` or a `StopGradientTarget`', self.target
        elif self.predicts_with_time:
            needed, got = 'a predictor of one vector, such as `MLPHead`', self.predictor
        else:
            return
        raise ValueError(f'`contrast_patches=True` needs {needed}, got {type(got).__name__}.')

    @property
    def pools_tokens(self) -> bool:
        """Whether a loss needs the pooled tokens."""
        contrasts_pooled = self.target is not None and not self.contrast_patches
        return contrasts_pooled or self.order_loss is not None

    @property
    def order_loss(self) -> Any:
        """Loss of the order of frames. None without one, or for a head that doesn't know it."""
        return getattr(self.head, 'order', None)

    @property
    def predicts_with_time(self) -> bool:
        """Whether the predictor gets the time between the views."""
        return self.target is not None and isinstance(self.predictor, TimedPredictor)

    @property
    def pixel_loss(self) -> Any:
        """Loss of predicted and true patches."""
        return self.head.reconstruction

    @property
    def embedder(self) -> nn.Module:
        """Module that maps pooled tokens to embeddings: the projector, or the predictor if there is no projector."""
        return self.predictor if isinstance(self.projector, nn.Identity) else self.projector

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: DataSamples = None,
        seeds: Tensor | None = None,
        times: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch of view pairs."""
        return self.mixed_loss([Views(inputs, seeds=seeds, times=times)])

    def mixed_loss(self, batches: Sequence[Views | Clips]) -> dict[str, Tensor]:
        """Computes the losses of view pairs of several kinds, whose contrast is within all of them together."""
        batches = [as_one_kind(batch) for batch in batches]
        if self.contrast_patches and len(batches) > 1:
            raise ConfigError(
                '`contrast_patches=True` compares samples with the same number of patches, but a batch has '
                f'{len(batches)} kinds of data. Set `train_dataloader.batch_sampler.type=OneSourceBatches`.'
            )
        parts = [self.encode_views(batch.inputs, batch.get('seeds')) for batch in batches]
        shares = [len(batch) / sum(map(len, batches)) for batch in batches]
        encoded = {  # losses (), and vectors (V, B, D) or (V, B, K, D)
            name: join_parts([part[name] for part in parts], shares, dim=1) for name in parts[0]
        }
        losses = {name: value for name, value in encoded.items() if value.ndim == 0}
        vectors = {name: value for name, value in encoded.items() if name not in losses}
        seconds = self.seconds_between(batches)
        if self.target is not None:
            losses['contrastive'] = self.contrast(**vectors, seconds=seconds)
        if self.order_loss is not None:
            losses.update(self.order_loss(vectors['pooled'], seconds))
        return self.head.weigh(**losses)

    def seconds_between(self, batches: Sequence[Views | Clips]) -> Tensor | None:
        """Returns the time from each view to the other, (V, B), if a part needs it."""
        if self.order_loss is None and not self.predicts_with_time:
            return None
        if any(batch.get('times') is None for batch in batches):
            raise ConfigError(
                '`TimedPredictor` and `FrameOrderLoss` need the times of the views, but the batch has none. End each '
                "pipeline of the training data with `dict(type='PackViews', with_times=True)`."
            )
        times = torch.cat([torch.stack(batch['times']) for batch in batches], dim=1)
        return times.flip(0) - times

    def encode_views(self, inputs: Sequence[Tensor], seeds: Tensor | None) -> dict[str, Tensor]:
        """Masks and encodes pairs of one kind: V times (B, C, H, W) -> what `encode` returns, rows as (V, B)."""
        views = self.join_views(inputs)  # (V*B, C, H, W), view 1's samples first
        mask = self.backbone.draw_mask(views, seeds_of_views(seeds, len(inputs)))
        if self.contrastive_cache is None:
            encoded = {**self.encode(views, mask), **self.teach(views, mask)}
        else:
            encoded = self.contrastive_cache(self.encode, self.teach, views, mask)
        return {
            name: value.unflatten(0, (len(inputs), -1)) if value.ndim else value
            for name, value in encoded.items()
        }

    def encode(self, views: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Computes the tokens that losses compare, and the reconstruction loss of masked patches.

        Shape:
            (R, C, H, W) -> `reconstruction` (), `pooled` (R, D), `patches` (R, K, D); for any R of the V*B rows
        """
        encoded = {}
        tokens, _ = self.backbone(views, mask)  # (R, 1+K, D)
        if self.neck is not None:
            predicted, patches = self.predict_hidden(views, tokens, mask)  # (R, M, P) each
            encoded['reconstruction'] = call_part(
                'head.reconstruction', self.head.reconstruction, predicted, patches, returns='()'
            )
        if self.pools_tokens:
            encoded['pooled'] = self.pool(tokens)
        if self.target is not None and self.contrast_patches:
            encoded['patches'], _ = self.backbone.split_prefix(tokens)
        return encoded

    def teach(self, views: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Pools the tokens of the EMA teacher, if there is one: rows (R, C, H, W) -> `teacher` (R, D)."""
        if not isinstance(self.target, EMATarget):
            return {}
        return {'teacher': self.target.encode(views, mask)}

    def contrast(
        self,
        pooled: Tensor | None = None,
        teacher: Tensor | None = None,
        seconds: Tensor | None = None,
        patches: Tensor | None = None,
    ) -> Tensor:
        """Computes the contrastive loss from the pooled tokens of student and teacher, (V, B, D) each.

        A `TimedPredictor` also gets the seconds from each view to the other, (V, B). `patches` (V, B, K, D) are
        compared instead of pooled tokens: heads and target see B*K samples.
        """
        compared: Any = pooled if patches is None else patches
        samples = compared.shape[1:-1]  # (B,) or (B, K)
        compared = compared.flatten(1, -2)
        projected = apply_per_view(self.projector, compared, 'projector')  # (V, B, E)
        time: Any = (seconds,) if self.predicts_with_time else ()
        predictions = apply_per_view(self.predictor, projected, 'predictor', *time)
        embedded = predictions if self.embedder is self.predictor else projected
        targets = call_part('target', self.target, compared, embedded, teacher, returns='(V, B, E)')
        pair = [vectors.unflatten(1, samples) for vectors in (predictions, targets)]
        return call_part('head.contrastive', self.head.contrastive, *pair, returns='()')


def _require_part(part: Part | None, name: str, loss: str) -> Part:
    if part is None:
        raise ValueError(
            f'`head.{loss}` needs a `{name}`, got None. Set one, or disable the loss with '
            f'`head.{loss}=None`.'
        )
    return part
