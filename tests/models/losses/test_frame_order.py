# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from vicmae.errors import ConfigError
from vicmae.models.losses import FrameOrderLoss
from vicmae.registry import MODELS
from vicmae.structures import Views
from vicmae.testing import randomize, toy_vicmae_config

EDGES = (0.5, 1.0, 2.0)


def make_loss(seed=0, **options):
    loss = FrameOrderLoss(in_dim=4, hidden_dim=16, **options)
    loss.init_weights()
    return loss if seed is None else randomize(loss, seed)


def signed(seconds):
    """Times from each view to the other, (2, B), from those to the second one."""
    seconds = torch.tensor(seconds)
    return torch.stack([seconds, -seconds])


def make_model(**head):
    config = toy_vicmae_config(norm=None)
    order = dict(type='FrameOrderLoss', hidden_dim=16)
    config['head'] = {**config['head'], 'order': order, 'order_weight': 0.5, **head}
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model)


def make_batch(num_samples=6):
    torch.manual_seed(1)
    return Views(
        [torch.randn(num_samples, 3, 16, 16) for _ in range(2)],
        seeds=torch.arange(num_samples),
        times=[torch.full((num_samples,), 2.0), torch.linspace(0.5, 4, num_samples)],
    )


def test_loss_and_accuracy_equal_a_slow_reference():
    loss, pooled = make_loss(), torch.randn(2, 5, 4)
    seconds = [0.2, -0.7, 0.0, 3.0, -1.0]
    classes = [4, 2, None, 7, 1]  # of -2 and less, -2 to -1, ..., 1 to 2, 2 and more
    with torch.no_grad():
        mlp = torch.nn.Sequential(*loss)
        errors, correct = [], []
        for i, label in enumerate(classes):
            if label is None:
                continue
            there = mlp(torch.cat([pooled[0, i], pooled[1, i]])).double().numpy()
            back = mlp(torch.cat([pooled[1, i], pooled[0, i]])).double().numpy()
            shares = np.exp(there + back[::-1])
            shares /= shares.sum()
            errors.append(-np.log(shares[label]))
            correct.append((shares[4:].sum() > 0.5) == (seconds[i] > 0))
    result = loss(pooled, signed(seconds))
    assert result['order'].item() == pytest.approx(np.mean(errors), rel=1e-5)
    assert result['order_accuracy'].item() == pytest.approx(np.mean(correct))


@pytest.mark.parametrize('edges', [EDGES, ()])
def test_loss_starts_at_the_logarithm_of_the_number_of_classes(edges):
    loss = make_loss(seed=None, edges=edges)
    value = loss(torch.randn(2, 5, 4), signed([0.2, -0.7, 1.0, 3.0, -4.0]))['order']
    assert value.item() == pytest.approx(math.log(2 * (len(edges) + 1)))


def test_swapped_views_have_reversed_scores_and_the_same_loss():
    loss, pooled = make_loss(), torch.randn(2, 5, 4)
    seconds = signed([0.2, -0.5, 1.0, 3.0, -2.0])
    torch.testing.assert_close(loss.score(pooled.flip(0)), loss.score(pooled).flip(-1))
    for name, value in loss(pooled, seconds).items():
        torch.testing.assert_close(loss(pooled.flip(0), seconds.flip(0))[name], value)


def test_loss_depends_on_order_and_on_size():
    loss, pooled = make_loss(), torch.randn(2, 5, 4)
    losses = {t: loss(pooled, signed([t] * 5))['order'].item() for t in (0.2, -0.2, 3.0, -3.0)}
    assert len(set(losses.values())) == 4


def test_images_do_not_count():
    loss, pooled = make_loss(), torch.randn(2, 5, 4, requires_grad=True)
    result = loss(pooled, signed([0.3, 0.0, -1.0, 0.0, 0.0]))
    videos = loss(pooled[:, [0, 2]], signed([0.3, -1.0]))
    torch.testing.assert_close(result, videos)
    result['order'].backward()
    assert pooled.grad.abs().sum(dim=(0, 2)).gt(0).tolist() == [True, False, True, False, False]


def test_batch_of_images_has_no_loss_and_finite_gradients():
    loss = make_loss()
    result = loss(torch.randn(2, 5, 4), signed([0.0] * 5))
    result['order'].backward()
    assert result['order'].item() == result['order_accuracy'].item() == 0
    assert all(p.grad.eq(0).all() for p in loss.parameters())


def test_order_is_learned_from_tokens_that_show_the_time():
    loss = make_loss(seed=None)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        times = 4 * torch.rand(2, 64, generator=generator)
        pooled = torch.stack([times, times.cos(), times.sin(), times.square()], dim=-1)
        result = loss(pooled, times.flip(0) - times)
        optimizer.zero_grad()
        result['order'].backward()
        optimizer.step()
    assert result['order'] < 1.2 < math.log(8)
    assert result['order_accuracy'] > 0.9


@pytest.mark.parametrize('contrastive', [dict(type='InfoNCELoss'), None])
def test_model_adds_the_weighted_loss_and_trains_the_encoder_with_it(contrastive):
    model = make_model(contrastive=contrastive, reconstruction_weight=0.0, contrastive_weight=0.0)
    losses = model.loss(**make_batch())
    assert losses['loss_order'].item() == pytest.approx(0.5 * losses['order'].item())
    total, logged = model.parse_losses(losses)
    assert total.item() == pytest.approx(losses['loss_order'].item())
    assert 0 <= logged['order_accuracy'] <= 1
    total.backward()
    assert model.backbone.layers[0].attn.qkv.weight.grad.abs().sum() > 0


def test_mixed_batch_has_the_loss_of_all_pairs_together():
    batch, model = make_batch(), make_model()
    parts = [
        {
            'inputs': [view[rows] for view in batch.inputs],
            'seeds': batch['seeds'][rows],
            'times': [time[rows] for time in batch['times']],
        }
        for rows in (slice(2), slice(2, 6))
    ]
    whole, mixed = model.forward(**batch, mode='loss'), model.forward(parts, mode='loss')
    assert whole.keys() == mixed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(mixed[name], value, msg=name)


def test_batch_without_times_is_refused_with_the_fix():
    with pytest.raises(ConfigError, match=r"need the times .*type='PackViews', with_times=T"):
        make_model().loss(make_batch().inputs)


@pytest.mark.parametrize('edges', [(0.0, 1.0), (1.0, 0.5), (-1.0,), (1.0, 1.0)])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(ValueError, match='`edges` must be rising times above 0, in seconds, got'):
        make_loss(edges=edges)


def test_linear_head_is_refused():
    with pytest.raises(ValueError, match='`num_blocks` must be at least 1, got 0'):
        make_loss(num_blocks=0)
