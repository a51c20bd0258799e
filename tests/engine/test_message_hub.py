# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Histories are those of MMEngine's hub, whenever they are read."""

import itertools

import pytest
import torch
from mmengine.logging import MessageHub

from vicmae.engine.message_hub import DeferredMessageHub

names = (f'hub-{number}' for number in itertools.count())
UPDATES = [
    ('train/loss', torch.tensor(0.1)),
    ('train/lr', 0.5),
    ('train/loss', torch.tensor([1 / 3], dtype=torch.float64)),
    ('train/loss', torch.tensor(0.3, dtype=torch.bfloat16)),
    ('train/count', torch.tensor(7)),
    ('train/lr', torch.tensor(0.2, requires_grad=True)),
    ('train/lr', 0.25),
]


def filled(cls):
    hub = cls(next(names))
    for key, value in UPDATES:
        hub.update_scalar(key, value)
    return hub


def histories(scalars):
    return [
        (key, buffer.data[0].tolist(), buffer.data[1].tolist()) for key, buffer in scalars.items()
    ]


@pytest.mark.parametrize(
    'read', [lambda hub: hub.log_scalars, lambda hub: hub.state_dict()['log_scalars']]
)
def test_values_and_the_order_of_names_are_those_of_mmengine(read):
    assert histories(read(filled(DeferredMessageHub))) == histories(read(filled(MessageHub)))


def test_one_history_is_read_without_the_others():
    hub = filled(DeferredMessageHub)
    assert hub.get_scalar('train/loss').current() == torch.tensor(0.3, dtype=torch.bfloat16).item()
    with pytest.raises(KeyError, match='nothing'):
        hub.get_scalar('nothing')


def test_loaded_state_replaces_pending_values():
    hub, other = filled(DeferredMessageHub), DeferredMessageHub(next(names))
    other.update_scalar('train/loss', torch.tensor(2.0))
    hub.load_state_dict(other.state_dict())
    assert hub.get_scalar('train/loss').data[0].tolist() == [2.0]


def test_unread_values_do_not_accumulate():
    hub = DeferredMessageHub(next(names))
    for _ in range(2500):
        hub.update_scalar('train/loss', torch.tensor(1.0))
    assert len(hub._pending) < 1000
    assert len(hub.get_scalar('train/loss').data[0]) == 2500
