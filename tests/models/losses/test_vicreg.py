# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.models.losses import VICRegLoss

vicreg = VICRegLoss()


def hinge_slowly(x, target_std, eps):
    """x (B, E)"""
    return np.mean([max(0, target_std - np.sqrt(np.var(e, ddof=1) + eps)) for e in x.T])


def covariance_slowly(x):
    num_samples, num_dims = x.shape
    total = 0.0
    for i in range(num_dims):
        for j in range(num_dims):
            if i != j:
                product = (x[:, i] - x[:, i].mean()) @ (x[:, j] - x[:, j].mean())
                total += (product / (num_samples - 1)) ** 2
    return total / num_dims


def vicreg_slowly(predictions, targets, weights, target_std, eps):
    """Over both views v, the mean of VICReg(p_v, z_{1-v}): views (2, B, E) in float64."""
    losses = []
    for a, b in [(predictions[0], targets[1]), (predictions[1], targets[0])]:
        invariance = ((a - b) ** 2).mean()
        variance = (hinge_slowly(a, target_std, eps) + hinge_slowly(b, target_std, eps)) / 2
        covariance = covariance_slowly(a) + covariance_slowly(b)
        losses.append(np.dot(weights, [invariance, variance, covariance]))
    return np.mean(losses)


@pytest.mark.parametrize('weights', [(25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize(('target_std', 'eps'), [(1.0, 1e-4), (0.7, 0.1)])
def test_loss_equals_the_formula_term_by_term(weights, target_std, eps):
    # Dimensions on both sides of the hinge, and views that differ in spread.
    spread = torch.tensor([0.1, 0.5, 1.5, 3.0, 0.9]).double()
    p, z = torch.randn(2, 2, 7, 5).double() * spread * torch.tensor([[[1.0]], [[0.6]]]) + 2
    expected = vicreg_slowly(p.numpy(), z.numpy(), weights, target_std, eps)
    loss = VICRegLoss(*weights, target_std=target_std, eps=eps)(p, z)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_defaults_are_25_25_and_1_as_in_the_paper():
    p, z = torch.randn(2, 2, 7, 5).double()
    expected = vicreg_slowly(p.numpy(), z.numpy(), (25, 25, 1), 1.0, 1e-4)
    assert vicreg(p, z).item() == pytest.approx(expected, rel=1e-12)


def test_loss_is_symmetric_in_the_views_and_ignores_the_order_of_samples():
    p, z = torch.randn(2, 2, 7, 5).double()
    order = torch.randperm(7)
    torch.testing.assert_close(vicreg(p, z), vicreg(p.flip(0), z.flip(0)))
    torch.testing.assert_close(vicreg(p, z), vicreg(p[:, order], z[:, order]))


def test_views_that_agree_spread_out_and_uncorrelated_have_no_loss():
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).expand(2, 4, 2)
    assert vicreg(corners, corners).item() == pytest.approx(0, abs=1e-10)
    repeated = corners[..., [0, 0]]  # one dimension twice
    assert vicreg(repeated, repeated).item() == pytest.approx(2 * (4 / 3) ** 2, rel=1e-6)


def test_collapse_costs_the_whole_hinge_and_its_gradient_is_finite():
    views = torch.ones(2, 4, 3, requires_grad=True)
    loss = vicreg(views, views)
    loss.backward()
    assert loss.item() == pytest.approx(25 * (1 - 0.01), rel=1e-6)  # 0.01 is the root of eps
    assert views.grad.isfinite().all()


def test_gradients_equal_finite_differences():
    p, z = (torch.randn(2, 2, 5, 3) * torch.tensor([0.3, 1.0, 2.0])).double()
    assert torch.autograd.gradcheck(vicreg, (p.requires_grad_(), z.requires_grad_()))


def test_one_sample_is_refused():
    views = torch.randn(2, 1, 3)
    with pytest.raises(ValueError, match='at least 2 samples over all ranks.*got 1. Raise'):
        vicreg(views, views)


@pytest.mark.parametrize(
    'name', ['invariance_weight', 'variance_weight', 'covariance_weight', 'target_std', 'eps']
)
@pytest.mark.parametrize('value', [-1, float('nan')])
def test_negative_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f'`{name}` must not be negative, got {value}'):
        VICRegLoss(**{name: value})


def test_eps_of_zero_is_refused():
    with pytest.raises(ValueError, match='`eps` must be positive, got 0'):
        VICRegLoss(eps=0)
