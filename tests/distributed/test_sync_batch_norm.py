# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from vicmae.models.layers import SyncBatchNorm1d
from vicmae.utils.distributed import rank_and_world_size

ROWS = {1: [7], 2: [5, 2], 3: [1, 4, 2]}  # on each rank: not the same number


def run_norm(norm, rows, weights):
    """Two training steps and one in evaluation on this rank's rows; outputs, gradients and state."""
    rank, world_size = rank_and_world_size()
    local = rows.split(ROWS[world_size])[rank].clone().requires_grad_()
    outputs = [norm(local), norm(3 * local + 1)]
    weights = weights.split(ROWS[world_size])[rank]
    (sum(outputs) * weights).sum().backward()
    if norm.track_running_stats:  # without, evaluation takes each rank's own batch, as torch's does
        outputs.append(norm.eval()(local))
    gradients = [p.grad for p in norm.parameters()]
    return [x.detach() for x in outputs], local.grad, gradients, norm.state_dict()


def with_odd_weights(norm):
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_()
    return norm.double()


@pytest.mark.parametrize(
    'world_size', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))]
)
@pytest.mark.parametrize('shape', [(7, 3), (7, 3, 2)])
@pytest.mark.parametrize(
    'options', [{}, {'momentum': None}, {'affine': False}, {'track_running_stats': False}]
)
def test_uneven_batches_equal_batch_norm_of_the_joined_batch(gloo_pool, world_size, shape, options):
    # A mean far from zero: E[x^2] - E[x]^2 would lose 1e-8 of the variance.
    rows, weights = 1e4 + torch.randn(shape).double(), torch.randn(shape).double()
    theirs = with_odd_weights(SyncBatchNorm1d(3, **options))
    ours = nn.BatchNorm1d(3, **options).double()
    ours.load_state_dict(theirs.state_dict())
    outputs, gradient, gradients, state = run_norm(ours, rows, weights)
    results = gloo_pool.run(run_norm, world_size, theirs, rows, weights)
    close = dict(rtol=1e-9, atol=1e-9)
    for step, output in enumerate(outputs):
        joined = torch.cat([result[0][step] for result in results])
        torch.testing.assert_close(joined, output, **close)
    torch.testing.assert_close(torch.cat([r[1] for r in results]), gradient, **close)
    for i, summed in enumerate(gradients):
        torch.testing.assert_close(sum(r[2][i] for r in results), summed, **close)
    for result in results:
        assert result[3].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(result[3][name], value, **close)


def half_precision_statistics(dtype):
    rank, _ = rank_and_world_size()
    norm = SyncBatchNorm1d(1)
    with torch.autocast('cpu', torch.bfloat16):
        output = norm(torch.tensor([[60_000.0], [10_000.0]][rank : rank + 1], dtype=dtype))
    return output, norm.running_mean, norm.running_var


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_statistics_of_half_precision_are_float32(gloo_pool, dtype):
    values = torch.tensor([60_000.0, 10_000.0]).to(dtype).float()
    for rank, (output, mean, variance) in enumerate(
        gloo_pool.run(half_precision_statistics, 2, dtype)
    ):
        assert output.dtype == dtype
        assert output.item() == [1, -1][rank]
        assert mean.item() == pytest.approx(0.1 * values.mean().item(), rel=1e-6)
        assert variance.item() == pytest.approx(0.9 + 0.1 * values.var().item(), rel=1e-6)
