# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Schedules in shares of the run."""

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR

from vicmae.engine import CosineLR, WarmupLR
from vicmae.errors import ConfigError


def rates(build, steps):
    """The learning rate of each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedules = build(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return values


def in_shares(steps, share):
    return lambda optimizer: [
        WarmupLR(optimizer, share=share, end=steps, by_epoch=False),
        CosineLR(optimizer, warmup_share=share, end=steps, by_epoch=False),
    ]


def in_steps(steps, warmup):
    return lambda optimizer: [
        LinearLR(optimizer, start_factor=1e-4, begin=0, end=warmup, by_epoch=False),
        CosineAnnealingLR(optimizer, T_max=steps - warmup, begin=warmup, end=steps, by_epoch=False),
    ]


@pytest.mark.parametrize(
    ('steps', 'share', 'warmup'), [(200, 0.05, 10), (90, 1 / 9, 10), (16, 0.5, 8)]
)
def test_shares_are_the_schedule_in_steps_bit_for_bit(steps, share, warmup):
    assert rates(in_shares(steps, share), steps) == rates(in_steps(steps, warmup), steps)


@pytest.mark.parametrize('steps', [4, 19, 100])
def test_any_length_ends_near_zero_after_the_full_rate(steps):
    values = rates(in_shares(steps, 0.1), steps)
    assert max(values) == pytest.approx(0.3)
    assert values[-1] < 0.3 * (1.6 / steps * 1.6) ** 2 + 0.3 * 0.2
    assert values[-1] == min(values[values.index(max(values)) :])


def test_no_warmup_begins_at_the_full_rate():
    assert rates(in_shares(10, 0.0), 10)[0] == pytest.approx(0.3)


@pytest.mark.parametrize('share', [-0.1, 1, 40])
def test_share_outside_of_the_run_is_refused(share):
    with pytest.raises(ConfigError, match=f'share.*got {share}'):
        rates(in_shares(10, share), 1)


def test_schedule_by_epoch_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    with pytest.raises(ConfigError, match='by_epoch=False'):
        WarmupLR(optimizer, end=10)
