# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Batches of several kinds: the loss is a mean over samples, on any number of ranks."""

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from vicmae.registry import MODELS
from vicmae.structures import Mixed, Views
from vicmae.testing import randomize, toy_vicmae_config, toy_video_mae_config
from vicmae.utils.distributed import rank_and_world_size

SAMPLES = 8
# Ranks differ in their numbers of the first kind; the second rank has none of it.
OF_FIRST_KIND = {1: [3], 2: [3, 0], 4: [2, 0, 1, 0]}
# Two kinds of images or clips, (C, [T], H, W).
KINDS = {
    'MAE': [(3, 24, 24), (3, 16, 16)],
    'ViCMAE': [(3, 24, 24), (3, 16, 16)],
    'SimCLR': [(3, 24, 24), (3, 16, 16)],
    'VideoMAE': [(3, 2, 16, 16), (3, 4, 16, 16)],
    'MAEST': [(3, 2, 16, 16), (3, 4, 16, 16)],
    'OmniMAE': [(3, 16, 16), (3, 4, 16, 16)],
}


def toy_config(method):
    if len(KINDS[method][1]) == 4:
        return toy_video_mae_config(method)
    parts = toy_vicmae_config('SyncBN')
    parts['backbone'] |= dict(resize_positions=True)
    if method == 'ViCMAE':
        return {**parts, 'head': {**parts['head'], 'contrastive_weight': 1.0}}
    shared = {name: parts[name] for name in ('data_preprocessor', 'backbone', 'aggregator')}
    if method == 'MAE':
        loss = dict(type='PixelReconstructionLoss')
        return dict(type='MAE', neck=parts['neck'], reconstruction=loss, **shared)
    shared['backbone'].pop('masking')
    contrastive = dict(type='InfoNCELoss')
    return dict(type='SimCLR', projector=parts['predictor'], contrastive=contrastive, **shared)


def build(config):
    torch.manual_seed(7)
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model).double()


def toy_samples(method):
    """Makes two views of samples of both kinds, each kind with the seeds of its masks."""
    torch.manual_seed(0)
    return [
        (torch.randn(count, 2, *shape, dtype=torch.float64), torch.randint(2**62, (count,)))
        for count, shape in zip([3, SAMPLES - 3], KINDS[method], strict=True)
    ]


def share_of(samples, rank, world_size):
    """Returns the batch of a rank: of one kind, or mixed."""
    of_first = OF_FIRST_KIND[world_size]
    counts = [of_first, [SAMPLES // world_size - count for count in of_first]]
    parts = [
        (pixels.split(of_ranks)[rank], seeds.split(of_ranks)[rank])
        for (pixels, seeds), of_ranks in zip(samples, counts, strict=True)
    ]
    batches = [Views(pixels.unbind(1), seeds=seeds) for pixels, seeds in parts if len(pixels)]
    return batches[0] if len(batches) == 1 else Mixed(batches)


def losses_and_gradients(config, samples):
    """One backward pass on this rank's share of the samples."""
    rank, world_size = rank_and_world_size()
    model = build(config)
    wrapped = MMDistributedDataParallel(model) if world_size > 1 else model
    losses = wrapped(**share_of(samples, rank, world_size), mode='loss')
    model.parse_losses(losses)[0].backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in losses.items()}, gradients


def test_loss_of_a_mixed_batch_is_the_mean_over_its_samples():
    samples = toy_samples('MAE')
    losses, _ = losses_and_gradients(toy_config('MAE'), samples)
    model = build(toy_config('MAE'))
    alone = [
        model.loss(list(pixels[:, None]), seeds=seed[None])['loss_reconstruction']
        for kind in samples
        for pixels, seed in zip(*kind, strict=True)
    ]
    torch.testing.assert_close(losses['loss_reconstruction'], torch.stack(alone).mean())


@pytest.mark.parametrize('world_size', [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize('method', KINDS)
def test_ranks_with_other_kinds_of_data_equal_one_process(gloo_pool, method, world_size):
    config, samples = toy_config(method), toy_samples(method)
    losses, gradients = losses_and_gradients(config, samples)
    results = gloo_pool.run(losses_and_gradients, world_size, config, samples)
    for name, value in losses.items():
        # A mean over the samples of one kind, of which a rank may have none.
        if name in ('reconstruction_image', 'reconstruction_clip'):
            continue
        mean = sum(result[0][name].item() for result in results) / world_size
        assert mean == pytest.approx(value.item(), rel=1e-12)
    for _, averaged in results:
        assert averaged.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(averaged[name], gradient, msg=name)
