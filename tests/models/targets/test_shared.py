# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import torch

from vicmae.models.heads import MLPHead
from vicmae.models.targets import SharedTarget


def test_without_a_head_targets_are_the_students_embeddings_with_their_gradient():
    pooled, embedded = torch.randn(2, 4, 6), torch.randn(2, 4, 3, requires_grad=True)
    targets = SharedTarget()(pooled, embedded, None)
    assert torch.equal(targets, embedded)
    targets.sum().backward()
    assert embedded.grad.eq(1).all()


def test_target_head_maps_pooled_tokens_of_each_view_with_gradient():
    head = MLPHead(in_dim=6, hidden_dim=8, out_dim=3)
    pooled = torch.randn(2, 4, 6, requires_grad=True)
    targets = SharedTarget(head)(pooled, torch.randn(2, 4, 3), None)
    torch.testing.assert_close(targets, torch.stack([head(pooled[0]), head(pooled[1])]))
    targets.square().sum().backward()
    assert pooled.grad.abs().sum() > 0
    assert head[0].weight.grad.abs().sum() > 0
