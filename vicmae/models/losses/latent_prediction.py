# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prediction of an EMA encoder's tokens. B batch, C channels, H W pixels, N patches, M masked, D width."""

import logging

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from vicmae.registry import MODELS

from ..targets import EMATeacher
from .precision import full_precision

DISTANCES = {'l1': F.l1_loss, 'smooth_l1': F.smooth_l1_loss, 'l2': F.mse_loss}


@MODELS.register_module()
class LatentPredictionLoss(EMATeacher):
    """Compares the decoder's output with an EMA encoder's tokens of the masked patches, instead of their pixels.

    In the place of a `PixelReconstructionLoss` it makes a `MAE`, `VideoMAE`, `OmniMAE` or `ViCMAE` predict in latent
    space, as V-JEPA (https://arxiv.org/abs/2404.08471) does for clips: the EMA encoder sees the whole view, and its
    tokens are layer-normed without scale and shift. The decoder then predicts D values for each patch. Gradients go to
    the encoder and the decoder only; the EMA keeps tokens from becoming equal.

    The EMA encoder costs a forward pass of all patches in each step. `TargetEMAHook` updates it. V-JEPA raises its
    momentum linearly from 0.998 to 1; the hook does so along a cosine. With a `ContrastiveCache` it runs twice.

    Args:
        momentum: Share of the EMA encoder's weights that is kept in an update, in [0, 1], at the start of a run.
        distance: 'l1' (V-JEPA), 'smooth_l1' (I-JEPA, https://arxiv.org/abs/2301.08243) or 'l2', averaged over values.

    Shape:
        (B, M, D), (B, M, D) -> ()
    """

    def __init__(self, momentum: float = 0.998, distance: str = 'l1') -> None:
        super().__init__(momentum)
        if distance not in DISTANCES:
            raise ValueError(f"`distance` must be one of {', '.join(DISTANCES)}, got '{distance}'.")
        if momentum == 0:
            print_log(
                'LatentPredictionLoss with `momentum=0`: its targets are those of the student itself, so that nothing '
                'prevents a collapse (equal tokens). Usual are 0.99 to 0.9999.',
                'current',
                logging.WARNING,
            )
        self.distance = distance

    @torch.no_grad()
    def encode(self, views: Tensor) -> Tensor:
        """Computes the targets of all patches, visible or not: (B, C, H, W) or (B, C, T, H, W) -> (B, N, D)."""
        patches, _ = self.backbone.split_prefix(self.backbone(views)[-1])
        with full_precision(patches) as (patches,):
            return F.layer_norm(patches, patches.shape[-1:])

    def forward(self, predicted: Tensor, targets: Tensor) -> Tensor:
        with full_precision(predicted, targets) as (predicted, targets):
            if targets.numel() == 0:  # nothing is masked: the mean would be 0/0
                return predicted.sum()
            return DISTANCES[self.distance](predicted, targets)

    def extra_repr(self) -> str:
        return f'momentum={self.momentum}, distance={self.distance!r}'
