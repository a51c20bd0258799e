# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encoding a batch in parts equals encoding it at once."""

import pytest
import torch
from torch.utils.checkpoint import set_checkpoint_early_stop

from vicmae.models import ContrastiveCache
from vicmae.registry import MODELS
from vicmae.testing import peak_memory, randomize, toy_vicmae_config


def make_model(num_parts=None, norm='BN', **parts):
    config = {**toy_vicmae_config(norm), **parts}
    config['head'] = {**config['head'], 'contrastive_weight': 1.0}
    if num_parts:
        config['contrastive_cache'] = dict(type='ContrastiveCache', num_parts=num_parts)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model)


def step(model, views, seed=3):
    """One backward pass; returns the losses and all gradients."""
    torch.manual_seed(seed)  # of the masks
    losses = model.loss(views)
    model.parse_losses(losses)[0].backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {name: value.item() for name, value in losses.items()}, gradients


@pytest.mark.parametrize('target', ['SharedTarget', 'EMATarget'])
@pytest.mark.parametrize('norm', ['BN', None])
@pytest.mark.parametrize(('num_parts', 'num_samples'), [(2, 8), (3, 7), (16, 8)])
def test_losses_and_gradients_equal_those_of_the_whole_batch(num_parts, num_samples, norm, target):
    views = [torch.randn(num_samples, 3, 16, 16) for _ in range(2)]
    parts = dict(target=dict(type=target)) if target == 'EMATarget' else {}
    losses, gradients = step(make_model(norm=norm, **parts), views)
    in_parts, cached = step(make_model(num_parts, norm, **parts), views)
    assert in_parts == pytest.approx(losses, rel=1e-6)
    joined, theirs = (torch.cat([g.flatten() for g in gs.values()]) for gs in (gradients, cached))
    assert (theirs - joined).norm() / joined.norm() < 1e-6
    assert gradients.keys() == cached.keys()


def test_contrast_of_patches_equals_that_of_the_whole_batch():
    views = [torch.randn(6, 3, 16, 16) for _ in range(2)]
    losses, gradients = step(make_model(contrast_patches=True), views)
    in_parts, cached = step(make_model(3, contrast_patches=True), views)
    assert in_parts == pytest.approx(losses, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(cached[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_sigreg_and_predicted_tokens_equal_those_of_the_whole_batch():
    views = [torch.randn(6, 3, 16, 16) for _ in range(2)]
    head = dict(
        type='ViCMAEHead',
        reconstruction=dict(type='LatentPredictionLoss'),
        contrastive=dict(type='SIGRegLoss', num_slices=16),
    )
    losses, gradients = step(make_model(head=head), views)
    in_parts, cached = step(make_model(3, head=head), views)
    assert in_parts == pytest.approx(losses, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(cached[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize('early_stop', [True, False])
@pytest.mark.parametrize('masked', [True, False])
def test_teacher_runs_once_for_each_part_and_the_student_twice(masked, early_stop):
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    target = dict(type='EMATarget', masked=masked)
    model = make_model(4, target=target)
    rows = {'student': [], 'teacher': []}
    for name, backbone in [('student', model.backbone), ('teacher', model.target.backbone)]:
        backbone.register_forward_hook(lambda _, args, __, n=name: rows[n].append(len(args[0])))
    # Otherwise torch ends a second run at the last tensor that a gradient needs, which is none of the teacher's.
    with set_checkpoint_early_stop(early_stop):
        losses, gradients = step(model, views)
    assert rows == {'student': [4] * 8, 'teacher': [4] * 4}
    whole, expected = step(make_model(target=target), views)
    assert losses == pytest.approx(whole, rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_loss_of_accumulated_small_batches_differs():
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    model = make_model(4, norm=None)
    together, _ = step(model, views)
    apart = [step(model, [v[i : i + 2] for v in views])[0]['contrastive'] for i in range(0, 8, 2)]
    assert together['contrastive'] > sum(apart) / 4 + 0.3  # negatives of all eight


@pytest.mark.parametrize(
    'target',
    [None, dict(type='EMATarget'), dict(type='EMATarget', masked=False)],
    ids=['shared', 'teacher', 'teacher of whole views'],
)
def test_memory_is_that_of_one_part(target):
    views = [torch.randn(64, 3, 16, 16) for _ in range(2)]
    parts = {} if target is None else dict(target=target)
    arch = dict(embed_dims=48, num_layers=4, num_heads=2, feedforward_channels=192)
    parts['backbone'] = {**toy_vicmae_config()['backbone'], 'arch': arch}

    def peak(num_parts, views):
        model = make_model(num_parts, **parts)
        return peak_memory(lambda: step(model, views))

    whole, small = peak(None, views), peak(None, [v[:8] for v in views])
    joined = sum(v.nbytes for v in views)
    vectors = 64 * 2 * 4 * (2 * 48 + 8 * 16)  # pooled tokens, and what the heads keep of them
    # A part adds its gradients to those of the parts before it.
    gradients = sum(p.nbytes for p in make_model(None, **parts).parameters() if p.requires_grad)
    assert peak(8, views) < small + joined + vectors + gradients < 0.3 * whole


def test_statistics_of_batch_norm_are_updated_once():
    views = [torch.randn(8, 3, 16, 16) for _ in range(2)]
    whole, cached = make_model(), make_model(4)
    step(whole, views)
    step(cached, views)
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(dict(cached.named_buffers())[name], buffer, msg=name)


def test_zero_parts_are_refused():
    with pytest.raises(ValueError, match='integer of at least 1, got 0. A batch'):
        ContrastiveCache(0)
