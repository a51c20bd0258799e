# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import torch

from vicmae.models.targets import StopGradientTarget


def test_targets_are_the_students_embeddings_without_gradient():
    embedded = torch.randn(2, 4, 3, requires_grad=True)
    targets = StopGradientTarget()(torch.randn(2, 4, 6), embedded, None)
    assert torch.equal(targets, embedded)
    assert not targets.requires_grad
