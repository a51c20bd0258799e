# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import cmath
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vicmae.models.losses import SIGRegLoss
from vicmae.models.losses.sigreg import epps_pulley, random_directions


def statistic_slowly(values, num_knots, max_knot):
    """Epps-Pulley statistic of samples (B,) against N(0, 1), over knots on both sides of zero."""
    knots = np.linspace(-max_knot, max_knot, 2 * num_knots - 1)
    integrand = []
    for t in knots:
        mean = sum(cmath.exp(1j * t * x) for x in values) / len(values)
        integrand.append(abs(mean - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2))
    return len(values) * np.trapezoid(integrand, knots)


def sigreg_slowly(p, z, directions, weight, num_knots, max_knot):
    """Views (2, B, E) in float64, directions (E, S)."""
    distances, statistics = [], []
    for view in range(2):
        for a, b in zip(p[view], z[1 - view], strict=True):
            centre = (a + b) / 2
            distances += [((a - centre) ** 2).mean(), ((b - centre) ** 2).mean()]
        for side in (p, z):
            for u in directions.T:
                statistics.append(statistic_slowly(side[view] @ u, num_knots, max_knot))
    return (1 - weight) * np.mean(distances) + weight * np.mean(statistics)


@pytest.mark.parametrize(('weight', 'num_knots', 'max_knot'), [(0.02, 5, 3.0), (1.0, 4, 5.0)])
@pytest.mark.parametrize('shared', [True, False])
def test_loss_equals_the_formula_term_by_term(weight, num_knots, max_knot, shared):
    p, z = torch.randn(2, 2, 6, 4).double() * 1.5 + 0.3
    z = p if shared else z
    loss = SIGRegLoss(weight, num_slices=3, num_knots=num_knots, max_knot=max_knot).eval()
    directions = random_directions(0, 4, 3, p)
    expected = sigreg_slowly(*(x.numpy() for x in (p, z, directions)), weight, num_knots, max_knot)
    assert loss(p, z).item() == pytest.approx(expected, rel=1e-12)


def test_defaults_are_those_of_the_authors():
    p = torch.randn(2, 8, 4).double()
    directions = random_directions(0, 4, 1024, p)
    statistics = epps_pulley(p @ directions, 17, 3.0)
    expected = 0.98 * (p[0] - p[1]).square().mean() / 4 + 0.02 * statistics.mean()
    torch.testing.assert_close(SIGRegLoss().eval()(p, p), expected, rtol=1e-12, atol=0)


def test_gradients_equal_those_of_complex_characteristic_functions():
    p, z = (torch.randn(2, 2, 5, 4).double() * 2).requires_grad_(True)
    loss = SIGRegLoss(0.3, num_slices=6).eval()
    knots = torch.linspace(-3, 3, 33, dtype=torch.float64)
    normal = (-(knots**2) / 2).exp()

    def reference(p, z):
        directions = random_directions(0, 4, 6, p)
        total = 0
        for side in (p, z):
            functions = torch.exp(1j * torch.einsum('vbe,es,t->vbst', side, directions, knots))
            distance = (functions.mean(dim=1) - normal).abs() ** 2
            total = total + 5 * torch.trapezoid(distance * normal, knots).mean() / 2
        return 0.7 * F.mse_loss(p, z.flip(0)) / 4 + 0.3 * total

    gradients = torch.autograd.grad(loss(p, z), (p, z))
    expected = torch.autograd.grad(reference(p, z), (p, z))
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-14)
    assert torch.autograd.gradcheck(loss, (p, z))


def test_two_sides_that_are_equal_give_the_loss_of_one():
    p = torch.randn(2, 6, 4)
    loss = SIGRegLoss(0.5, num_slices=16).eval()
    torch.testing.assert_close(loss(p, p), loss(p, p.clone()))


EMBEDDINGS = {
    'collapsed to a point': lambda x: torch.full_like(x, 0.3),
    'on a line': lambda x: x[..., :1].expand_as(x),
    'in half of the dimensions': lambda x: x * (torch.arange(8) < 4),
    'stretched': lambda x: x * torch.linspace(0.3, 2, 8),
    'small': lambda x: 0.5 * x,
    'shifted': lambda x: x + 0.5,
    'heavy-tailed': lambda x: x * (1 / torch.rand(2, 512, 1)).sqrt() / 2,
    'of unit length': lambda x: F.normalize(x, dim=-1),
}


@pytest.mark.parametrize('name', EMBEDDINGS)
def test_normal_embeddings_have_the_lowest_statistic(name):
    normal = torch.randn(2, 512, 8)
    loss = SIGRegLoss(1.0, num_slices=256).eval()
    lowest = loss(normal, normal).item()
    # Its expectation for N samples, by the variance of characteristic functions, whatever N is.
    t = torch.linspace(-3, 3, 33)
    expected = torch.trapezoid((1 - (-(t**2)).exp()) * (-(t**2) / 2).exp(), t)
    assert lowest == pytest.approx(expected.item(), rel=0.2)
    other = EMBEDDINGS[name](normal)
    assert loss(other, other) > 3 * lowest


def test_expected_loss_does_not_change_under_a_rotation():
    p = torch.randn(2, 32, 6).double() * torch.linspace(0.2, 2, 6)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6).double())
    loss = SIGRegLoss(0.5, num_slices=4000).eval()
    turned = p @ rotation
    assert loss(turned, turned).item() == pytest.approx(loss(p, p).item(), rel=0.05)


def test_descent_leaves_a_collapse():
    p = (0.01 * torch.randn(2, 64, 4)).requires_grad_(True)
    loss = SIGRegLoss(num_slices=64)
    optimizer = torch.optim.Adam([p], lr=0.1)
    before = loss(p, p).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(p, p).backward()
        optimizer.step()
    assert loss(p, p).item() < 0.1 * before
    spread = p.detach().flatten(0, 1).T.cov()
    torch.testing.assert_close(spread, torch.eye(4), atol=0.3, rtol=0)
    assert (p[0] - p[1]).std() < 0.3  # the views agree


def test_loss_is_symmetric_in_the_views_and_ignores_the_order_of_samples():
    p, z = torch.randn(2, 2, 7, 5).double()
    loss, order = SIGRegLoss(0.5, num_slices=8).eval(), torch.randperm(7)
    torch.testing.assert_close(loss(p, z), loss(p.flip(0), z.flip(0)))
    torch.testing.assert_close(loss(p, z), loss(p[:, order], z[:, order]))


def test_directions_are_unit_vectors_spread_over_the_sphere():
    u = random_directions(5, 3, 20_000, torch.empty(0, dtype=torch.float64))
    torch.testing.assert_close(u.norm(dim=0), torch.ones(20_000, dtype=torch.float64))
    assert u.mean(dim=1).abs().max() < 0.02
    torch.testing.assert_close(u @ u.T / 20_000, torch.eye(3).double() / 3, atol=0.01, rtol=0)
    assert not torch.equal(u, random_directions(6, 3, 20_000, u))
    torch.testing.assert_close(random_directions(5, 3, 20_000, u.float()), u.float())


def test_directions_change_in_each_training_step_and_follow_from_the_shared_seed():
    p, loss = torch.randn(2, 16, 4), SIGRegLoss(num_slices=4)
    first, second = loss(p, p), loss(p, p)
    assert first != second
    loss.shared_seed = 0
    torch.rand(3)
    assert loss(p, p) == first
    loss.eval()
    assert loss(p, p) == loss(p, p) == first


def test_half_precision_is_computed_in_float32():
    p = torch.randn(2, 64, 8)
    half = p.bfloat16().requires_grad_(True)
    loss = SIGRegLoss(num_slices=64).eval()
    with torch.autocast('cpu', torch.bfloat16):
        value = loss(half, half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), half.float()))
    value.backward()
    assert half.grad.dtype == torch.bfloat16
    assert half.grad.isfinite().all()


@pytest.mark.parametrize('weight', [0, -0.1, 1.5, float('nan')])
def test_weight_outside_zero_to_one_is_refused(weight):
    with pytest.raises(ValueError, match=rf'`weight` must be in \(0, 1\], got {weight}. Without'):
        SIGRegLoss(weight)


@pytest.mark.parametrize('setting', [dict(num_slices=0), dict(num_knots=1), dict(max_knot=0)])
def test_settings_without_a_test_are_refused(setting):
    with pytest.raises(ValueError, match='SIGReg needs `num_slices` of at least 1'):
        SIGRegLoss(**setting)
