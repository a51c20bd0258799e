# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs MMEngine's Runner in milliseconds, for tests of hooks."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import nn

from vicmae.engine import VicmaeRunner

_run_numbers = itertools.count()


class ToyHead(nn.Module):
    """Has a weight that a hook can move."""

    def __init__(self) -> None:
        super().__init__()
        self.contrastive_weight = 0.5


class ToyModel(BaseModel):
    """A linear layer that brings two views together.

    Attributes:
        weights_seen: The head's weight at each training step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.head = ToyHead()
        self.weights_seen: list[float] = []

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        if mode != 'loss':
            return [self.linear(view) for view in inputs]
        self.weights_seen.append(self.head.contrastive_weight)
        first, second = (self.linear(view) for view in inputs)
        return {'loss_difference': (first - second).square().mean()}


def toy_runner(
    work_dir: str | Path,
    *,
    max_epochs: int = 2,
    num_batches: int = 3,
    hooks: Sequence[Any] = (),
    checkpoints: bool = False,
    model: nn.Module | None = None,
    **kwargs: Any,
) -> VicmaeRunner:
    """Builds a Runner that trains a toy model on batches of four samples.

    Args:
        work_dir: Where the log and the checkpoints go.
        max_epochs: Epochs to train for.
        num_batches: Batches of an epoch.
        hooks: Custom hooks, or their configs.
        checkpoints: Whether to write one each epoch.
        model: Trained in place of a new `ToyModel`.
        kwargs: Further arguments of the Runner (`resume`, `load_from`, `optim_wrapper`, ...).
    """
    torch.manual_seed(0)
    samples = [{'inputs': list(torch.randn(2, 2))} for _ in range(4 * num_batches)]
    settings: dict[str, Any] = dict(
        train_dataloader=dict(
            batch_size=4,
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1) if checkpoints else None,
        ),
        default_scope='vicmae',
        # MMEngine keeps one logger and one message hub per name, and names runs by the second.
        experiment_name=f'toy-{next(_run_numbers)}',
    )
    return VicmaeRunner(
        model=model or ToyModel(),
        work_dir=str(work_dir),
        custom_hooks=list(hooks),
        **{**settings, **kwargs},
    )
