# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size


def losses_and_gradients(config, views, noise):
    """One backward pass on this rank's share of samples: views (V, B, C, H, W), noise (V, B, N)."""
    rank, world_size = rank_and_world_size()
    torch.manual_seed(7)
    model = MODELS.build(config)
    model.init_weights()
    randomize(model)
    share = noise.chunk(world_size, dim=1)[rank].flatten(0, 1)
    model.backbone.masking.noise = lambda *_: share
    wrapped = MMDistributedDataParallel(model) if world_size > 1 else model
    losses = wrapped(list(views.chunk(world_size, dim=1)[rank]), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in losses.items()}, gradients


def test_model_on_two_ranks_equals_one_process_with_the_joined_batch(gloo_pool):
    config = toy_vicmae_config(norm='LN')  # batch norm would see each rank's samples alone
    config['head']['contrastive_weight'] = 1.0
    views, noise = torch.randn(2, 8, 3, 16, 16), torch.rand(2, 8, 16)
    losses, gradients = losses_and_gradients(config, views, noise)
    results = gloo_pool.run(losses_and_gradients, 2, config, views, noise)
    for name in ('loss_reconstruction', 'loss_contrastive'):
        mean = sum(r[0][name].item() for r in results) / 2
        assert mean == pytest.approx(losses[name].item(), rel=1e-5)
    for _, averaged in results:
        assert averaged.keys() == gradients.keys()
        for name, gradient in gradients.items():
            # Keys' biases have no gradient but rounding: hence the absolute part.
            torch.testing.assert_close(averaged[name], gradient, rtol=1e-3, atol=2e-6, msg=name)
        joined = torch.cat([g.flatten() for g in gradients.values()])
        theirs = torch.cat([averaged[name].flatten() for name in gradients])
        assert (theirs - joined).norm() / joined.norm() < 2e-6
