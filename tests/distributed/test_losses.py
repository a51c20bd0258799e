# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""W ranks with B pairs each are one process with W*B pairs: in the loss, and in what DDP makes of gradients."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vicmae.models.heads import MLPHead, apply_per_view
from vicmae.models.losses import CosineLoss, InfoNCELoss, SIGRegLoss, VICRegLoss, info_nce
from vicmae.testing import randomize
from vicmae.utils.distributed import rank_and_world_size

LOSSES = {
    'InfoNCE': InfoNCELoss(0.1),
    'VICReg': VICRegLoss(),
    'Cosine': CosineLoss(),
    'SIGReg': SIGRegLoss(0.5, num_slices=8),
}
TARGETS = ['shared', 'head of its own', 'stop-gradient', 'one view alone carries gradient']


class Embedder(nn.Module):
    """A loss behind a shared trunk and heads with two norms, its targets made in one of the ways of TARGETS."""

    def __init__(self, loss, target, norms):
        super().__init__()
        self.loss = copy.deepcopy(LOSSES[loss])  # a step draws directions and counts
        self.target = target
        self.trunk = nn.Linear(8, 6)
        self.projector = MLPHead(in_dim=6, hidden_dim=10, out_dim=6, num_blocks=1, norm=norms[0])
        if target != 'shared':
            self.head = MLPHead(in_dim=6, hidden_dim=10, out_dim=6, num_blocks=1, norm=norms[1])

    def forward(self, views):
        pooled = self.trunk(views)
        projected = apply_per_view(self.projector, pooled)
        if self.target == 'shared':
            return self.loss(projected, projected)
        if self.target == 'head of its own':
            return self.loss(projected, apply_per_view(self.head, pooled))
        predictions = apply_per_view(self.head, projected)
        if self.target == 'one view alone carries gradient':
            predictions = torch.stack([predictions[0], predictions[1].detach()])
        return self.loss(predictions, projected.detach())


def losses_and_gradients(views, dtype, norms):
    """By case: the loss averaged over ranks, and all gradients, from this rank's share of (2, B, 8) views."""
    rank, world_size = rank_and_world_size()
    local = views.chunk(world_size, dim=1)[rank].to(dtype)
    results = {}
    for case in itertools.product(LOSSES, TARGETS, norms):
        torch.manual_seed(7)
        model = Embedder(*case)
        randomize(model)
        model.to(dtype)
        wrapped = DistributedDataParallel(model) if dist.is_initialized() else model
        loss = wrapped(local)
        loss.backward()
        loss = loss.detach()
        if dist.is_initialized():
            dist.all_reduce(loss)
        results[case] = loss / world_size, {n: p.grad for n, p in model.named_parameters()}
    return results


def relative_error(value, true):
    return ((value - true).norm() / true.norm()).item()


def joined(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


# Behind two batch norms, float32 on one process alone is 1e-6 away from float64: there, float64 shows the law.
@pytest.mark.parametrize(
    'world_size', [*(pytest.param(n, marks=pytest.mark.slow) for n in (4, 3)), 2, 1]
)
@pytest.mark.parametrize(
    ('dtype', 'tolerance', 'norms'),
    [
        (torch.float32, 1e-6, [('SyncBN', None), (None, None)]),
        (torch.float64, 1e-12, [('SyncBN', 'SyncBN'), (None, None)]),
    ],
)
def test_losses_and_gradients_on_several_ranks_equal_one_process(
    gloo_pool, world_size, dtype, tolerance, norms
):
    views = torch.randn(2, 12, 8, dtype=torch.float64)
    expected = losses_and_gradients(views, dtype, norms)
    for results in gloo_pool.run(losses_and_gradients, world_size, views, dtype, norms):
        assert results.keys() == expected.keys()
        for case, (loss, gradients) in expected.items():
            their_loss, theirs = results[case]
            assert relative_error(their_loss, loss) < tolerance, case
            assert relative_error(joined(theirs), joined(gradients)) < tolerance, case
            for name, gradient in gradients.items():
                # In front of a batch norm, biases have no gradient but rounding.
                if gradient.norm() > 1e-4 * joined(gradients).norm():
                    assert relative_error(theirs[name], gradient) < 2 * tolerance, (case, name)


def test_batch_norm_per_rank_differs_from_one_process(gloo_pool):
    views = torch.randn(2, 12, 8, dtype=torch.float64)
    expected = losses_and_gradients(views, torch.float64, [('BN', 'BN')])
    results, _ = gloo_pool.run(losses_and_gradients, 2, views, torch.float64, [('BN', 'BN')])
    for case, (_, gradients) in expected.items():
        assert relative_error(joined(results[case][1]), joined(gradients)) > 0.01, case


def loss_of_patches_and_gradient(predictions):
    rank, world_size = rank_and_world_size()
    share = predictions.chunk(world_size, dim=1)[rank].clone().requires_grad_()
    loss = info_nce(share, share, 0.2)
    loss.backward()
    return loss.detach() / world_size, share.grad / world_size


def test_loss_of_patches_on_two_ranks_equals_one_process(gloo_pool):
    z = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    loss, gradient = loss_of_patches_and_gradient(z)
    losses, gradients = zip(*gloo_pool.run(loss_of_patches_and_gradient, 2, z), strict=True)
    torch.testing.assert_close(sum(losses), loss)
    torch.testing.assert_close(torch.cat(gradients, dim=1), gradient)


def loss_of_share(predictions, targets, compat_rank_local_ids):
    rank, world_size = rank_and_world_size()
    share = [x.chunk(world_size, dim=1)[rank] for x in (predictions, targets)]
    return info_nce(*share, 0.2, compat_rank_local_ids).item()


def test_negatives_of_other_ranks_are_used(gloo_pool):
    z = torch.randn(2, 6, 5)
    together = gloo_pool.run(loss_of_share, 2, z, z, False)
    apart = [info_nce(half, half, 0.2).item() for half in z.chunk(2, dim=1)]
    assert sum(together) / 2 > sum(apart) / 2 + 0.3


def official_loss_slowly(predictions, targets, rank, temperature):
    """The official code's loss on one rank, term by term: views (W, 2, B, E) of all ranks in float64."""
    world_size, _, batch_size, _ = predictions.shape
    everyone = list(itertools.product(range(world_size), range(2), range(batch_size)))
    losses = []
    for view, i in itertools.product(range(2), range(batch_size)):
        p = predictions[rank, view, i] / np.linalg.norm(predictions[rank, view, i])
        positive, total = 0.0, 0.0
        for other in everyone:
            if other == (rank, view, i):
                continue
            z = targets[other] / np.linalg.norm(targets[other])
            term = math.exp(p @ z / temperature)
            total += term
            if other[2] == i:  # the number in its batch, without the rank
                positive += term
        losses.append(-math.log(positive / total))
    return np.mean(losses)


@pytest.mark.parametrize('world_size', [2, 3])
def test_compat_rank_local_ids_is_the_official_value_and_not_the_true_one(gloo_pool, world_size):
    predictions, targets = torch.randn(2, 2, 4 * world_size, 5, dtype=torch.float64)
    official = gloo_pool.run(loss_of_share, world_size, predictions, targets, True)
    true = gloo_pool.run(loss_of_share, world_size, predictions, targets, False)
    of_ranks = [
        x.unflatten(1, (world_size, 4)).movedim(1, 0).numpy() for x in (predictions, targets)
    ]
    for rank in range(world_size):
        expected = official_loss_slowly(*of_ranks, rank, 0.2)
        assert official[rank] == pytest.approx(expected, rel=1e-12)
        assert official[rank] < true[rank] - 0.3
