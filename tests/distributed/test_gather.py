# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.utils.distributed import gather_with_grad, rank_and_world_size


def weigh_gathered(rows, weights):
    """Each rank brings its rows and weighs everybody's with weights of its own; returns rows and gradient."""
    rank, world_size = rank_and_world_size()
    local = rows.chunk(world_size)[rank].clone().requires_grad_()
    gathered = gather_with_grad(local)
    (gathered * weights[rank]).sum().backward()
    return rank, world_size, gathered.detach(), local.grad


def test_single_process_is_rank_0_of_1_and_gathers_nothing():
    rows = torch.randn(3, 2)
    assert rank_and_world_size() == (0, 1)
    assert gather_with_grad(rows) is rows


@pytest.mark.parametrize('world_size', [1, 2, 3])
def test_every_rank_gets_all_rows_in_rank_order(gloo_pool, world_size):
    rows, weights = torch.randn(6, 4), torch.randn(world_size, 6, 4)
    results = gloo_pool.run(weigh_gathered, world_size, rows, weights)
    assert [result[:2] for result in results] == [(r, world_size) for r in range(world_size)]
    for _, _, gathered, _ in results:
        assert torch.equal(gathered, rows)


@pytest.mark.parametrize('world_size', [2, 3])
def test_gradient_of_a_row_is_the_sum_over_the_losses_of_all_ranks(gloo_pool, world_size):
    rows, weights = torch.randn(6, 4), torch.randn(world_size, 6, 4)
    gradients = [x[3] for x in gloo_pool.run(weigh_gathered, world_size, rows, weights)]
    torch.testing.assert_close(torch.cat(gradients), weights.sum(dim=0))
