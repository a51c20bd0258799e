# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.reductions import StorageWeakRef
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vicmae.models.losses import InfoNCELoss, info_nce


def info_nce_slowly(predictions, targets, temperature):
    """The paper's equation, term by term, over all 2N anchors: views (2, N, E) in float64."""
    num_views, num_samples, _ = predictions.shape
    rows = [(v, i) for v in range(num_views) for i in range(num_samples)]
    p = {row: predictions[row] / np.linalg.norm(predictions[row]) for row in rows}
    z = {row: targets[row] / np.linalg.norm(targets[row]) for row in rows}
    losses = []
    for view, i in rows:
        partner = (1 - view, i)
        numerator = math.exp(p[view, i] @ z[partner] / temperature)
        denominator = 0.0
        for other in rows:
            if other != (view, i):  # 1[p_i != z_k]: the anchor itself is no candidate
                denominator += math.exp(p[view, i] @ z[other] / temperature)
        losses.append(-math.log(numerator / denominator))
    return np.mean(losses)


def nt_xent(a, b, temperature):
    """SimCLR's loss as its paper has it: one similarity matrix of 2N vectors, diagonal left out."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(float('-inf'))
    n = len(a)
    pairs = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return -similarity.log_softmax(dim=1)[torch.arange(2 * n), pairs].mean()


@pytest.mark.parametrize('temperature', [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize('num_samples', [1, 2, 7])
def test_loss_equals_the_papers_formula_term_by_term(temperature, num_samples):
    predictions, targets = torch.randn(2, 2, num_samples, 5).double()
    expected = info_nce_slowly(predictions.numpy(), targets.numpy(), temperature)
    loss = InfoNCELoss(temperature)(predictions, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_equal_predictions_and_targets_give_simclrs_nt_xent():
    z = torch.randn(2, 9, 6)
    torch.testing.assert_close(info_nce(z, z, 0.2), nt_xent(z[0], z[1], 0.2))


def info_nce_of_patches_slowly(predictions, targets, temperature):
    """(2, N, K, E): a similarity is the mean over patches of the cosine with the closest patch of the other."""
    num_views, num_samples = predictions.shape[:2]
    rows = [(v, i) for v in range(num_views) for i in range(num_samples)]

    def similarity(row, column):
        closest = [
            max(F.cosine_similarity(p, z, dim=0) for z in targets[column]) for p in predictions[row]
        ]
        return sum(closest) / len(closest) / temperature

    losses = []
    for view, i in rows:
        others = [row for row in rows if row != (view, i)]
        scores = torch.stack([similarity((view, i), other) for other in others])
        losses.append(scores.logsumexp(dim=0) - scores[others.index((1 - view, i))])
    return torch.stack(losses).mean()


def test_loss_of_patches_equals_a_loop_over_patches():
    predictions, targets = torch.randn(2, 2, 4, 3, 5).double()
    expected = info_nce_of_patches_slowly(predictions, targets, 0.2)
    torch.testing.assert_close(info_nce(predictions, targets, 0.2), expected)


def test_loss_of_one_patch_is_that_of_vectors():
    predictions, targets = torch.randn(2, 2, 6, 5)
    of_patches = info_nce(predictions[:, :, None], targets[:, :, None], 0.1)
    torch.testing.assert_close(of_patches, info_nce(predictions, targets, 0.1))


def test_loss_ignores_the_order_of_patches():
    predictions, targets = torch.randn(2, 2, 6, 4, 5)
    moved = [predictions[:, :, torch.randperm(4)], targets[:, :, torch.randperm(4)]]
    torch.testing.assert_close(info_nce(*moved, 0.1), info_nce(predictions, targets, 0.1))


def test_loss_is_symmetric_in_the_views():
    z = torch.randn(2, 6, 5)
    torch.testing.assert_close(info_nce(z, z, 0.1), info_nce(z.flip(0), z.flip(0), 0.1))
    p = torch.randn(2, 6, 5)
    torch.testing.assert_close(info_nce(p, z, 0.1), info_nce(p.flip(0), z.flip(0), 0.1))


def test_loss_does_not_depend_on_the_order_of_samples():
    p, z = torch.randn(2, 2, 6, 5)
    order = torch.randperm(6)
    torch.testing.assert_close(info_nce(p, z, 0.1), info_nce(p[:, order], z[:, order], 0.1))


def test_loss_ignores_the_length_of_embeddings():
    p, z = torch.randn(2, 2, 6, 5)
    lengths = torch.rand(2, 6, 1) * 10 + 0.1
    torch.testing.assert_close(info_nce(p, z, 0.1), info_nce(p * lengths, z * lengths.flip(1), 0.1))


def test_loss_is_lowest_when_views_agree_and_samples_do_not():
    one_hot = torch.eye(6).expand(2, 6, 6)
    best = info_nce(one_hot, one_hot, 0.1)
    # One partner at similarity 1, ten others at 0.
    assert best.item() == pytest.approx(math.log(1 + 10 * math.exp(-10)), abs=1e-6)
    shuffled = torch.stack([torch.eye(6), torch.eye(6).roll(1, dims=0)])
    assert info_nce(shuffled, shuffled, 0.1) > best + 5
    collapsed = torch.ones(2, 6, 6)
    assert info_nce(collapsed, collapsed, 0.1).item() == pytest.approx(math.log(11), rel=1e-6)


def test_gradient_reaches_predictions_and_targets_and_equals_finite_differences():
    p, z = (0.5 * torch.randn(2, 2, 3, 4)).double()
    loss = InfoNCELoss(0.5)
    assert torch.autograd.gradcheck(loss, (p.requires_grad_(), z.requires_grad_()))


@pytest.mark.parametrize('num_samples', [1, 2, 7])
def test_compat_rank_local_ids_change_nothing_on_one_rank(num_samples):
    p, z = torch.randn(2, 2, num_samples, 5).double()
    p.requires_grad_()
    loss, compat = InfoNCELoss(0.1)(p, z), InfoNCELoss(0.1, compat_rank_local_ids=True)(p, z)
    torch.testing.assert_close(compat, loss)
    (gradient,), (compat_gradient,) = (torch.autograd.grad(x, p) for x in (loss, compat))
    torch.testing.assert_close(compat_gradient, gradient)


class SizesOfTensors(TorchDispatchMode):
    """Records the size of the largest tensor, and how many of that size existed at once."""

    def __init__(self):
        super().__init__()
        self.largest, self.most_at_once, self._storages = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in filter(torch.is_tensor, tree_leaves(result)):
            if x.numel() > self.largest:
                self.largest, self.most_at_once, self._storages = x.numel(), 0, {}
            if x.numel() == self.largest:
                storage = x.untyped_storage()
                self._storages[storage._cdata] = StorageWeakRef(storage)
                alive = sum(not storage.expired() for storage in self._storages.values())
                self.most_at_once = max(self.most_at_once, alive)
        return result


@pytest.fixture
def eight_ranks():
    """This process as the first of 8; the others don't exist, and what they send is left unset."""
    dist.init_process_group('fake', rank=0, world_size=8, store=FakeStore())
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures('eight_ranks')
@pytest.mark.parametrize('compat_rank_local_ids', [False, True])
def test_memory_is_that_of_the_local_rows_at_4096_pairs_on_8_ranks(compat_rank_local_ids):
    p, z = (x.requires_grad_() for x in torch.randn(2, 2, 512, 16).unbind())
    with SizesOfTensors() as sizes:
        info_nce(p, z, 0.1, compat_rank_local_ids).backward()
    assert z.grad is not None
    assert sizes.largest == 1024 * 8192
    assert sizes.most_at_once <= 3  # log-softmax, its gradient, that of the similarities


@pytest.mark.parametrize('temperature', [0, -0.1, float('nan')])
def test_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=f'must be positive, got {temperature}. Usual values'):
        InfoNCELoss(temperature)
