# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from vicmae.engine.gradients import global_norm, local_norms


def model_with_gradients(shard=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    if shard:
        fully_shard(model[0], mesh=init_device_mesh('cpu', (dist.get_world_size(),)))
    model(torch.ones(2, 3)).square().sum().backward()
    return model


def norm_of(model):
    parameters = [p for p in model.parameters() if p.grad is not None]
    return global_norm(parameters, local_norms(parameters))


def test_norm_is_that_of_all_gradients_in_one_vector():
    model = model_with_gradients()
    vector = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(norm_of(model), vector.norm())


def test_norm_ignores_parameters_without_gradients():
    assert norm_of(nn.Linear(2, 2)) == 0


def test_norm_of_non_finite_gradients_is_non_finite():
    model = model_with_gradients()
    model[0].bias.grad[1] = math.nan
    model[1].weight.grad[0, 0] = math.inf
    assert local_norms(list(model.parameters())).isfinite().tolist() == [True, False, False, True]
    assert not norm_of(model).isfinite()


def shard_on_rank():
    model = model_with_gradients(shard=True)
    norm = norm_of(model).item()
    if dist.get_rank() == 1:
        model[0].weight.grad.to_local().fill_(math.nan)
    local = local_norms(list(model.parameters()))
    return norm, local.isfinite().tolist(), norm_of(model).item()


def test_norm_of_sharded_and_whole_gradients_is_that_of_one_process(gloo_pool):
    expected = norm_of(model_with_gradients()).item()
    (norm, fine, spoilt), (other, others_fine, others_spoilt) = gloo_pool.run(shard_on_rank, 2)
    assert norm == other == pytest.approx(expected)
    assert math.isnan(spoilt) and math.isnan(others_spoilt)
    assert (fine, others_fine) == ([True] * 4, [False, True, True, True])
