# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VICReg loss. V views, B batch, E embedding, W ranks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS
from vicmae.utils.distributed import gather_with_grad

from .precision import full_precision
from .two_views import check_two_views


def variance_hinge(views: Tensor, target_std: float, eps: float) -> Tensor:
    """Averages relu(target_std - sqrt(unbiased var + eps)) over views and dimensions: (V, B, E) -> ()."""
    return F.relu(target_std - (views.var(dim=1) + eps).sqrt()).mean()


def covariance_penalty(views: Tensor) -> Tensor:
    """Sums squared off-diagonal unbiased covariances, divided by E, and averages over views: (V, B, E) -> ()."""
    num_views, num_samples, num_dims = views.shape
    centred = views - views.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / (num_samples - 1)  # (V, E, E)
    diagonal = torch.eye(num_dims, dtype=torch.bool, device=views.device)
    return covariance.masked_fill(diagonal, 0).square().sum() / (num_views * num_dims)


def _views_of_all_ranks(views: Tensor) -> Tensor:
    """Gathers each view's samples: (V, B, E) -> (V, W*B, E)."""
    gathered = gather_with_grad(views.transpose(0, 1)).transpose(0, 1)
    if gathered.shape[1] < 2:
        raise ValueError(
            'VICReg needs at least 2 samples over all ranks, for their variance, '
            f'got {gathered.shape[1]}. Raise `batch_size`.'
        )
    return gathered


@MODELS.register_module()
class VICRegLoss(nn.Module):
    """Compares views without negatives. Variance and covariance of the dimensions prevent a collapse.

    The mean over both views v of VICReg(p_v, z_{1-v}), for predictions p and targets z:

        VICReg(a, b) = invariance_weight * mean((a - b)^2)
                     + variance_weight * (hinge(a) + hinge(b)) / 2
                     + covariance_weight * (c(a) + c(b))

    where hinge and c are `variance_hinge` and `covariance_penalty`, over the samples of all ranks: W ranks with B
    pairs each give, on average, the loss of one process with W*B pairs, and after DDP's averaging its gradients.

    `VICReg <https://arxiv.org/abs/2105.04906>`_ as in its authors' code, if predictions are targets. The paper's
    equations 5 and 6 sum the squares over E and sum both hinges: its weights of 25 are `invariance_weight=25 * E`
    and `variance_weight=50` here.

    Args:
        invariance_weight: Weight of the squared distance of views, at least 0.
        variance_weight: Weight of the hinge that keeps samples apart, at least 0.
        covariance_weight: Weight of the penalty for redundant dimensions, at least 0.
        target_std: Standard deviation of a dimension above which the hinge is 0.
        eps: Constant, above 0, that is added to variances, for a finite gradient of their root.

    Shape:
        (2, B, E), (2, B, E) -> ()
    """

    def __init__(
        self,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        target_std: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.settings = dict(
            invariance_weight=invariance_weight,
            variance_weight=variance_weight,
            covariance_weight=covariance_weight,
            target_std=target_std,
            eps=eps,
        )
        for name, value in self.settings.items():
            if not value >= 0:
                raise ValueError(f'`{name}` must not be negative, got {value}.')
        if eps == 0:
            raise ValueError(
                '`eps` must be positive, got 0: at variance 0 the gradient of the root is infinite. Usual is 1e-4.'
            )

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        check_two_views(predictions, targets)
        invariance_weight, variance_weight, covariance_weight, target_std, eps = (
            self.settings.values()
        )
        with full_precision(predictions, targets) as (predictions, targets):
            sides = [_views_of_all_ranks(side) for side in (predictions, targets)]
            invariance = F.mse_loss(predictions, targets.flip(0))
            variance = sum(variance_hinge(side, target_std, eps) for side in sides) / 2
            covariance = sum(covariance_penalty(side) for side in sides)
            return (
                invariance_weight * invariance
                + variance_weight * variance
                + covariance_weight * covariance
            )

    def extra_repr(self) -> str:
        return ', '.join(f'{name}={value}' for name, value in self.settings.items())
