# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SIGReg: embeddings with a normal distribution. V views, B batch, E embedding, S directions, T knots, W ranks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS
from vicmae.utils.distributed import rank_and_world_size, sum_over_ranks

from ..masking import uniform
from .precision import full_precision
from .two_views import check_two_views


def epps_pulley(values: Tensor, num_knots: int = 17, max_knot: float = 3.0) -> Tensor:
    """Tests whether the samples of all ranks follow N(0, 1): the Epps-Pulley statistic of each view and direction.

    N * integral of |f(t) - exp(-t^2/2)|^2 * exp(-t^2/2) dt from -max_knot to max_knot, by the trapezoidal rule, where
    f(t) is the mean of exp(itx) over all N = W*B samples x, and exp(-t^2/2) is that mean for N(0, 1).

    Shape:
        (V, B, S) -> (V, S)
    """
    _, world_size = rank_and_world_size()
    # The integrand is even: half of the knots are enough.
    knots = torch.linspace(0, max_knot, num_knots, dtype=values.dtype, device=values.device)
    normal = (-knots.square() / 2).exp()
    angles = values.unsqueeze(-1) * knots  # (V, B, S, T)
    means = torch.stack([angles.cos().mean(dim=1), angles.sin().mean(dim=1)])
    real, imaginary = sum_over_ranks(means) / world_size  # (V, S, T) each
    distance = (real - normal).square() + imaginary.square()
    num_samples = world_size * values.shape[1]
    return num_samples * 2 * torch.trapezoid(distance * normal, knots)


def random_directions(seed: int, width: int, count: int, like: Tensor) -> Tensor:
    """Draws unit vectors that depend only on the seed, not on the device or the rank: (E, S), one in each column."""
    seeds = torch.full((1,), seed, dtype=torch.int64, device=like.device)
    numbers = uniform(1, width * count, like.device, seeds).view(width, count).double()
    # The middle of each of the 2^24 intervals, as the normal number of 0 is infinite.
    directions = torch.special.ndtri(numbers + 2**-25)
    return F.normalize(directions, dim=0).to(like.dtype)


@MODELS.register_module()
class SIGRegLoss(nn.Module):
    """Compares views without negatives. A test for normally distributed embeddings prevents a collapse (SIGReg).

    The loss of `LeJEPA <https://arxiv.org/abs/2511.08544>`_, for predictions p and targets z:

        (1 - weight) * invariance + weight * mean of epps_pulley(p @ u) and epps_pulley(z @ u)

    where the invariance is the mean squared distance of p_v and z_{1-v} to the mean of both, and u are random
    directions. If a projection on every direction follows N(0, 1), embeddings are isotropic and normally distributed.
    Time and memory are linear in batch and width. The embeddings must not be normalised. It needs no teacher and no
    schedule.

    Statistics are computed over the samples of all ranks: W ranks with B pairs each give the loss and, after DDP's
    averaging, the gradients of one process with W*B pairs. With gradient accumulation, each small batch is tested
    alone, so that a step averages the gradients of the small batches; with a `ContrastiveCache` the whole batch is
    tested. Directions change in each training step. They are the same on all ranks, and `StepSeedHook` makes them
    depend only on seed and iteration, also after a resume. In evaluation mode they are fixed.

    Args:
        weight: Share of SIGReg, the paper's lambda, in (0, 1]; the invariance has the rest. The authors' minimal
            example uses 0.02, as does LeVJEPA (https://arxiv.org/abs/2608.27395), there beside an invariance of
            weight 1.
        num_slices: Number of random directions. The authors' package recommends 1024.
        num_knots: Number of points from 0 to `max_knot` at which characteristic functions are compared, at least 2.
            The authors' package uses 17.
        max_knot: Largest of these points, above 0. The authors' package uses 3; the paper 5, with 17 knots from -5
            to 5.

    Shape:
        (2, B, E), (2, B, E) -> ()
    """

    def __init__(
        self,
        weight: float = 0.02,
        *,
        num_slices: int = 1024,
        num_knots: int = 17,
        max_knot: float = 3.0,
    ) -> None:
        super().__init__()
        if not 0 < weight <= 1:
            raise ValueError(
                f'`weight` must be in (0, 1], got {weight}. Without SIGReg, all embeddings become equal. Usual values '
                'are 0.01 to 0.1.'
            )
        if num_slices < 1 or num_knots < 2 or not max_knot > 0:
            raise ValueError(
                'SIGReg needs `num_slices` of at least 1, `num_knots` of at least 2 and `max_knot` above 0, got '
                f'{num_slices}, {num_knots} and {max_knot}. Usual values are 1024, 17 and 3.'
            )
        self.weight, self.num_slices = weight, num_slices
        self.num_knots, self.max_knot = num_knots, max_knot
        # Set by `StepSeedHook` in each step; without it, a step counts on.
        self.shared_seed = 0

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        check_two_views(predictions, targets)
        one_side = predictions is targets
        with full_precision(predictions, targets) as (predictions, targets):
            # A quarter of the distance of two points: each is half of it away from their mean.
            invariance = F.mse_loss(predictions, targets.flip(0)) / 4
            directions = self.next_directions(predictions)
            sides = [predictions] if one_side else [predictions, targets]
            statistics = [
                epps_pulley(side @ directions, self.num_knots, self.max_knot).mean()
                for side in sides
            ]
            return (1 - self.weight) * invariance + self.weight * sum(statistics) / len(sides)

    def next_directions(self, embeddings: Tensor) -> Tensor:
        """Draws the directions of a step: new ones in training, the same ones in evaluation."""
        seed = self.shared_seed if self.training else 0
        if self.training:
            self.shared_seed += 1
        return random_directions(seed, embeddings.shape[-1], self.num_slices, embeddings)

    def extra_repr(self) -> str:
        return (
            f'weight={self.weight}, num_slices={self.num_slices}, num_knots={self.num_knots}, '
            f'max_knot={self.max_knot}'
        )
