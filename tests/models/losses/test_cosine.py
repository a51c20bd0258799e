# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vicmae.models.losses import CosineLoss


def cosine_slowly(predictions, targets):
    """1 - cos of each prediction and its sample's target in the other view: views (2, B, E) in float64."""
    distances = []
    for v in range(2):
        for p, z in zip(predictions[v], targets[1 - v], strict=True):
            distances.append(1 - p @ z / (np.linalg.norm(p) * np.linalg.norm(z)))
    return np.mean(distances)


@pytest.mark.parametrize('num_samples', [1, 7])
def test_loss_equals_a_loop_over_views_and_samples(num_samples):
    p, z = torch.randn(2, 2, num_samples, 5).double()
    assert CosineLoss()(p, z).item() == pytest.approx(
        cosine_slowly(p.numpy(), z.numpy()), rel=1e-12
    )


def test_loss_is_simsiams_plus_one_and_a_quarter_of_byols():
    p, z = torch.randn(2, 2, 7, 5).double()
    loss = CosineLoss()(p, z)
    simsiam = sum(-F.cosine_similarity(p[v], z[1 - v]).mean() / 2 for v in range(2))
    torch.testing.assert_close(loss, simsiam + 1)
    unit_p, unit_z = F.normalize(p, dim=-1), F.normalize(z, dim=-1)
    byol = sum((unit_p[v] - unit_z[1 - v]).square().sum(dim=-1).mean() for v in range(2))
    torch.testing.assert_close(loss, byol / 4)


def test_loss_is_zero_for_equal_views_and_two_for_opposite_ones():
    z = torch.randn(2, 7, 5)
    lengths = torch.rand(2, 7, 1) + 0.1
    assert CosineLoss()(lengths * z.flip(0), z).item() == pytest.approx(0, abs=1e-6)
    assert CosineLoss()(-lengths * z.flip(0), z).item() == pytest.approx(2, abs=1e-6)


def test_gradient_flows_to_inputs_that_require_it():
    p, z = torch.randn(2, 2, 7, 5).double()
    p, z = p.requires_grad_(), z.requires_grad_()
    assert torch.autograd.gradcheck(CosineLoss(), (p, z))
    CosineLoss()(p, z.detach()).backward()
    assert p.grad is not None
    assert z.grad is None


def test_loss_of_nearly_equal_views_is_precise():
    p = torch.randn(2, 6, 32)
    z = p.flip(0) + 1e-3 * torch.randn(2, 6, 32)
    exact = CosineLoss()(p.double(), z.double()).item()
    assert exact < 1e-5
    assert CosineLoss()(p, z).item() == pytest.approx(exact, rel=1e-4)
