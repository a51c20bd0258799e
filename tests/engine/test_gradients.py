# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from vicmae.engine.gradients import global_norm, non_finite_gradients, whole_tensor


def model_with_gradients(shard=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    if shard:
        fully_shard(model[0], mesh=init_device_mesh('cpu', (dist.get_world_size(),)))
    model(torch.ones(2, 3)).square().sum().backward()
    return model


def test_norm_is_that_of_all_gradients_in_one_vector():
    model = model_with_gradients()
    vector = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(global_norm(model.parameters()), vector.norm())


def test_parameters_without_gradients_have_no_part_in_it():
    assert global_norm(nn.Linear(2, 2).parameters()) == 0


def test_gradients_that_are_not_finite_are_named():
    model = model_with_gradients()
    model[0].bias.grad[1] = math.nan
    model[1].weight.grad[0, 0] = math.inf
    assert non_finite_gradients(model) == ['0.bias', '1.weight']
    assert not global_norm(model.parameters()).isfinite()


def shard_on_rank():
    model = model_with_gradients(shard=True)
    norm = global_norm(model.parameters()).item()
    whole = whole_tensor(model[0].weight.detach())
    if dist.get_rank() == 1:
        model[0].weight.grad.to_local().fill_(math.nan)
    return norm, whole, non_finite_gradients(model), global_norm(model.parameters()).item()


def test_norm_of_sharded_and_whole_gradients_is_that_of_one_process(gloo_pool):
    model = model_with_gradients()
    expected = global_norm(model.parameters()).item()
    (norm, whole, names, spoilt), (other, _, others_names, others_spoilt) = gloo_pool.run(
        shard_on_rank, 2
    )
    assert norm == other == pytest.approx(expected)
    assert torch.equal(whole, model[0].weight)
    assert math.isnan(spoilt) and math.isnan(others_spoilt)
    assert (names, others_names) == ([], ['0.weight'])
