# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The whole model under DDP: W ranks with B pairs each are one process with W*B pairs."""

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size

PAIRS = 12
PROJECTOR = dict(type='MLPHead', hidden_dim=16, out_dim=8, norm='SyncBN')
CASES = {
    'paper': dict(),
    'official code': dict(projector=PROJECTOR, predictor=None, target=dict(type='SharedTarget')),
    'BYOL': dict(projector=PROJECTOR, target=dict(type='EMATarget'), contrastive='CosineLoss'),
    'SimSiam': dict(
        projector=PROJECTOR, target=dict(type='StopGradientTarget'), contrastive='CosineLoss'
    ),
    'VICReg': dict(contrastive='VICRegLoss'),
    'SIGReg': dict(projector=PROJECTOR, target=dict(type='SharedTarget'), contrastive='SIGRegLoss'),
    'latent prediction': dict(reconstruction='LatentPredictionLoss'),
    'time': dict(
        predictor=dict(type='TimedPredictor', predictor=PROJECTOR),
        order=dict(type='FrameOrderLoss', hidden_dim=16),
    ),
    'cached': dict(contrastive_cache=dict(type='ContrastiveCache', num_parts=3)),
}


def config_of(
    contrastive='InfoNCELoss', reconstruction='PixelReconstructionLoss', order=None, **parts
):
    config = {**toy_vicmae_config(norm='SyncBN'), **parts}
    config['head'] = {
        **config['head'],
        'reconstruction': dict(type=reconstruction),
        'contrastive': dict(type=contrastive),
        'contrastive_weight': 1.0,
        'order': order,
        'order_weight': 1.0,
    }
    return config


def losses_and_gradients(config, views, noise):
    """One backward pass on this rank's share of samples: views (V, B, C, H, W), noise (V, B, N)."""
    rank, world_size = rank_and_world_size()
    torch.manual_seed(7)
    model = MODELS.build(config)
    model.init_weights()
    randomize(model).to(views.dtype)
    share = noise.chunk(world_size, dim=1)[rank].flatten(0, 1)
    model.backbone.masking.noise = lambda *_: share
    wrapped = MMDistributedDataParallel(model) if world_size > 1 else model
    # The samples of the first of two ranks are images, without time between their views.
    seconds = (torch.arange(PAIRS) - PAIRS // 2).clamp(min=0) * 0.4
    times = torch.stack([seconds, torch.zeros(PAIRS)]).to(views.dtype)
    batch = (list(x.chunk(world_size, dim=1)[rank]) for x in (views, times))
    losses = wrapped(next(batch), times=next(batch), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in losses.items()}, gradients


def joined(gradients):
    return torch.cat([g.flatten() for g in gradients.values()])


def assert_equal_to_one_process(results, losses, gradients, limit):
    for name in [name for name in losses if name.startswith('loss_')]:
        mean = sum(r[0][name].item() for r in results) / len(results)
        assert mean == pytest.approx(losses[name].item(), rel=limit)
    for _, averaged in results:
        assert averaged.keys() == gradients.keys()
        error = (joined(averaged) - joined(gradients)).norm() / joined(gradients).norm()
        assert error < limit


@pytest.mark.parametrize(
    'world_size', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))]
)
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_ranks_equal_one_process_with_the_joined_batch(gloo_pool, world_size, case):
    # In float64, where a difference is a mistake and not rounding.
    config = config_of(**case)
    views = torch.randn(2, PAIRS, 3, 16, 16, dtype=torch.float64)
    noise = torch.rand(2, PAIRS, 16)
    losses, gradients = losses_and_gradients(config, views, noise)
    results = gloo_pool.run(losses_and_gradients, world_size, config, views, noise)
    assert_equal_to_one_process(results, losses, gradients, 1e-11)


@pytest.mark.parametrize(
    'world_size', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))]
)
@pytest.mark.parametrize('norm', ['LN', None])
def test_single_precision_differs_by_rounding_only(gloo_pool, world_size, norm):
    # Behind two batch norms, one process alone is further than this from float64.
    config = {**toy_vicmae_config(norm), 'head': config_of()['head']}
    views, noise = torch.randn(2, PAIRS, 3, 16, 16), torch.rand(2, PAIRS, 16)
    losses, gradients = losses_and_gradients(config, views, noise)
    results = gloo_pool.run(losses_and_gradients, world_size, config, views, noise)
    assert_equal_to_one_process(results, losses, gradients, 1e-6)


def test_batch_norm_per_rank_differs_from_one_process(gloo_pool):
    config = {**toy_vicmae_config('BN'), 'head': config_of()['head']}
    views, noise = torch.randn(2, PAIRS, 3, 16, 16), torch.rand(2, PAIRS, 16)
    losses, _ = losses_and_gradients(config, views, noise)
    results = gloo_pool.run(losses_and_gradients, 2, config, views, noise)
    mean = sum(r[0]['loss_contrastive'].item() for r in results) / 2
    assert mean != pytest.approx(losses['loss_contrastive'].item(), rel=1e-3)
