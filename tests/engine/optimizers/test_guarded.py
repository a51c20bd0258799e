# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What `step()` of a wrapper does with a loss or gradient that is not finite, without a Runner around it."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from vicmae.engine.optimizers import (
    BFloat16OptimWrapper,
    GuardedAmpOptimWrapper,
    GuardedOptimWrapper,
)
from vicmae.registry import OPTIM_WRAPPERS


def make(cls=GuardedOptimWrapper, guarded=True, **options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    wrapper = cls(torch.optim.AdamW(model.parameters(), lr=0.1, **options))
    wrapper.guarded = guarded
    return model, wrapper


def update(model, wrapper, scale=1.0, loss_scale=1.0):
    with wrapper.optim_context(model):
        loss = model(torch.ones(3, 2)).float().square().mean()
    handle = model.weight.register_hook(lambda gradient: gradient * scale)
    wrapper.update_params(loss * loss_scale)
    handle.remove()
    return model.weight.detach().clone()


@pytest.mark.parametrize('scale', [dict(scale=math.inf), dict(loss_scale=math.nan)])
@pytest.mark.parametrize('cls', [GuardedOptimWrapper, BFloat16OptimWrapper])
def test_non_finite_step_is_skipped_and_reported_at_once(cls, scale):
    model, wrapper = make(cls)
    before = update(model, wrapper)
    assert torch.equal(update(model, wrapper, **scale), before)
    assert wrapper.last_check.bad
    assert not torch.equal(update(model, wrapper), before)
    assert not wrapper.last_check.bad


def test_without_the_hook_every_step_is_taken_as_in_mmengine():
    weights = [
        update(*make(cls, guarded=False), scale=2.0) for cls in (GuardedOptimWrapper, OptimWrapper)
    ]
    assert torch.equal(*weights)
    assert not update(*make(guarded=False), scale=math.inf).isfinite().all()


@pytest.mark.parametrize('saved', [None, True])
@pytest.mark.parametrize('own', [None, True])
def test_checkpoint_does_not_change_whether_the_optimiser_is_fused(saved, own):
    model, wrapper = make(fused=saved)
    update(model, wrapper)
    state = wrapper.state_dict()
    _, other = make(fused=own)
    other.load_state_dict({**state, 'loss_scaler': {}})
    assert [group['fused'] for group in other.optimizer.param_groups] == [own]
    assert other.optimizer.state_dict()['state'][0]['step'] == 1


def test_guarded_wrappers_have_the_names_of_mmengine():
    assert OPTIM_WRAPPERS.get('OptimWrapper') is GuardedOptimWrapper
    assert OPTIM_WRAPPERS.get('AmpOptimWrapper') is GuardedAmpOptimWrapper


def test_requested_end_is_agreed_in_the_next_step():
    model, wrapper = make()
    update(model, wrapper)
    assert not wrapper.end_agreed
    wrapper.asked_to_end = True
    assert not wrapper.end_agreed
    update(model, wrapper)
    assert wrapper.end_agreed
