# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Compares two views, without negatives. V views, B batch, E embedding."""

import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS

from .precision import full_precision
from .two_views import check_two_views


@MODELS.register_module()
class CosineLoss(nn.Module):
    """Computes the cosine distance of two views: the mean of 1 - cos(p_v, z_{1-v}) for predictions p and targets z.

    It is the loss of SimSiam (https://arxiv.org/abs/2011.10566, equations 1 and 2) plus one, and a quarter of that of
    BYOL (https://arxiv.org/abs/2006.07733, equation 2), which sums 2 - 2 cos over the views.

    It has no negatives, so it is zero if all embeddings are equal. To prevent this collapse, use a target without
    gradient (`StopGradientTarget` as in SimSiam, `EMATarget` as in BYOL) and a predictor.

    Shape:
        (2, B, E), (2, B, E) -> ()
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        check_two_views(predictions, targets)
        with full_precision(predictions, targets.flip(0)) as (predictions, other_view):
            # Half the squared distance of unit vectors is equal, and precise even if they are nearly equal.
            distance = F.normalize(predictions, dim=-1) - F.normalize(other_view, dim=-1)
            return distance.square().sum(dim=-1).mean() / 2
