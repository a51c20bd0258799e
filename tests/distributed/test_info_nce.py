# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.distributed as dist

from vicmae.models.losses import info_nce
from vicmae.utils.distributed import rank_and_world_size


def loss_and_gradient(samples, weight, temperature, shared):
    """InfoNCE of embeddings samples @ weight on this rank's share of samples; averaged over ranks as DDP does.

    Predictions are the embeddings; targets too if shared, else the embeddings' first half twice.
    """
    rank, world_size = rank_and_world_size()
    local = samples.chunk(world_size, dim=1)[rank]
    weight = weight.clone().requires_grad_()
    predictions = local @ weight
    targets = predictions if shared else (local * local) @ weight
    loss = info_nce(predictions, targets, temperature)
    loss.backward()
    loss = loss.detach()
    if world_size > 1:
        for value in (loss, weight.grad):
            dist.all_reduce(value)
            value /= world_size
    return loss, weight.grad


@pytest.mark.parametrize('world_size', [2, 3])
@pytest.mark.parametrize('temperature', [0.1, 0.5])
@pytest.mark.parametrize('shared', [True, False])
def test_loss_and_gradients_on_several_ranks_equal_one_process(
    gloo_pool, world_size, temperature, shared
):
    samples, weight = torch.randn(2, 6, 8), torch.randn(8, 5)
    args = (samples, weight, temperature, shared)
    loss, gradient = loss_and_gradient(*args)
    for rank_loss, rank_gradient in gloo_pool.run(loss_and_gradient, world_size, *args):
        assert rank_loss.item() == pytest.approx(loss.item(), rel=1e-6)
        error = (rank_gradient - gradient).norm() / gradient.norm()
        assert error < 1e-6


def test_negatives_of_other_ranks_count(gloo_pool):
    samples, weight = torch.randn(2, 6, 8), torch.randn(8, 5)
    ((together, _), _) = gloo_pool.run(loss_and_gradient, 2, samples, weight, 0.5, True)
    apart = [loss_and_gradient(half, weight, 0.5, True)[0] for half in samples.chunk(2, dim=1)]
    assert together > sum(apart) / 2 + 0.3
