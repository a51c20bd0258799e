# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Linear classifiers of frozen features. Q queries, R references (the bank), D width, c classes, L learning rates."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from vicmae.errors import DataError
from vicmae.registry import METRICS
from vicmae.utils.log import say
from vicmae.utils.progress import share_bar

from .probe import Probe, ProbeMetric


def fit_logistic_regression(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    strength: float = 1.0,
    max_iter: int = 1000,
) -> nn.Linear:
    """Fits the linear classifier that minimises |weights|^2 / 2 + `strength` * sum of cross entropies.

    It equals scikit-learn's `LogisticRegression(C=strength)`, to its tolerance. Features of different spread in
    different dimensions take long.

    Shape:
        (R, D), (R,) -> (..., D) to (..., c)
    """
    features = features.double()
    head = _new_head(features, num_classes)
    scale = strength * len(features)  # the sum's size: the same steps for any number of samples
    lbfgs = torch.optim.LBFGS(
        head.parameters(),
        max_iter=max_iter,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn='strong_wolfe',
    )

    def objective() -> Tensor:
        lbfgs.zero_grad()
        penalty = head.weight.square().sum() / (2 * scale)
        loss = F.cross_entropy(head(features), labels) + penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        lbfgs.step(objective)
    return head


def fit_heads(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    lrs: Sequence[float],
    epochs: int = 100,
    batch_size: int = 1024,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> list[nn.Linear]:
    """Trains a linear classifier for each learning rate, all in one pass over the features.

    SGD from zero, with cosine schedules from `lrs` to 0. The heads are independent: each gets the same weights as
    when it is trained alone. `report` is called with the share that is done.

    Shape:
        (R, D), (R,) -> L times (..., D) to (..., c)
    """
    heads = [_new_head(features, num_classes) for _ in lrs]
    sgd = torch.optim.SGD(
        [dict(params=list(head.parameters()), lr=lr) for head, lr in zip(heads, lrs, strict=True)],
        momentum=momentum,
        weight_decay=weight_decay,
    )
    num_batches = -(-len(features) // batch_size)
    steps = epochs * num_batches
    schedule = torch.optim.lr_scheduler.LambdaLR(
        sgd, lambda step: (1 + math.cos(math.pi * step / steps)) / 2
    )
    generator = torch.Generator().manual_seed(seed)  # on the CPU: one order for all devices
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for number, ids in enumerate(order.split(batch_size)):
            batch, targets = features[ids], labels[ids]
            with torch.enable_grad():
                loss = torch.stack([F.cross_entropy(head(batch), targets) for head in heads]).sum()
                sgd.zero_grad()
                loss.backward()
            sgd.step()
            schedule.step()
            if report is not None:
                report((epoch * num_batches + number + 1) / steps)
    return heads


def _new_head(features: Tensor, num_classes: int) -> nn.Linear:
    head = nn.Linear(features.shape[1], num_classes, device=features.device, dtype=features.dtype)
    nn.init.zeros_(head.weight)  # the loss is convex: no random start is necessary
    nn.init.zeros_(head.bias)
    return head


class _LinearMetric(ProbeMetric):
    """Reports top-1 and mean class accuracy of linear classifiers.

    Args:
        standardize: Whether features are scaled to mean 0 and standard deviation 1 over the bank, as by the batch norm
            of MAE's linear probe.
        kwargs: Arguments of `ProbeMetric`.
    """

    method = 'linear'

    def __init__(self, *, standardize: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.standardize = standardize

    def names(self) -> list[str]:
        return [f'{self.method}_top1', f'{self.method}_mean_class']

    def prepare(self, probe: Probe) -> Probe:
        """Standardizes a probe, and checks that it has two classes."""
        if len(probe.bank_labels.unique()) < 2:
            raise DataError(
                f"The linear probe '{probe.name}' needs at least two classes in its bank, got one. Put files into one "
                'folder per class, or write `path label` lines.'
            )
        return probe.standardized() if self.standardize else probe

    def accuracies(self, head: nn.Linear, probe: Probe) -> tuple[float, float]:
        """Returns a classifier's accuracy of the queries in percent, and the mean over their classes."""
        labels = probe.query_labels
        right = _is_right(head, probe.queries, labels)
        by_class = [right[labels == label].mean() for label in labels.unique()]
        return 100 * right.mean().item(), 100 * torch.stack(by_class).mean().item()


@torch.no_grad()
def _is_right(head: nn.Linear, features: Tensor, labels: Tensor) -> Tensor:
    return (head(features.to(head.weight.dtype)).argmax(dim=1) == labels).double()


@METRICS.register_module()
class LogisticAccuracy(_LinearMetric):
    """Accuracy of a logistic regression on the bank, for each probe of the samples.

    The classifier is scikit-learn's, without randomness. Meant for up to some ten thousand features;
    `LinearProbeAccuracy` for more. Reports `logistic_top1` and `logistic_mean_class` in percent.

    Args:
        strength: Weight of the data against small weights, scikit-learn's C.
        max_iter: Maximum number of L-BFGS steps.
        kwargs: `standardize`, and arguments of `ProbeMetric`.
    """

    method = 'logistic'

    def __init__(self, *, strength: float = 1.0, max_iter: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not strength > 0:
            raise ValueError(f'`strength` must be positive, got {strength}.')
        self.strength = strength
        self.max_iter = max_iter

    def measure(self, probe: Probe) -> dict[str, float]:
        probe = self.prepare(probe)
        head = fit_logistic_regression(
            probe.bank,
            probe.bank_labels,
            probe.num_classes,
            strength=self.strength,
            max_iter=self.max_iter,
        )
        return dict(zip(self.names(), self.accuracies(head, probe), strict=True))


@METRICS.register_module()
class LinearProbeAccuracy(_LinearMetric):
    """Accuracy of a linear classifier of frozen features, for a sweep of learning rates at the cost of one.

    The learning rate is chosen without the queries: on a `holdout` of each class of the bank, after a first fit to the
    rest. A second fit uses the whole bank. Reports in percent, per probe: `linear_top1` and `linear_mean_class` for
    the chosen learning rate, `linear_lr`, and `linear_top1_lrX` for each.

    Args:
        lrs: Learning rates for batches of 256, scaled with the batch size.
        epochs: Number of passes over the features.
        batch_size: Features in a step.
        holdout: Share of each class of the bank that is held out.
        weight_decay: Weight decay of SGD.
        seed: Seed of the order of features and of the holdout.
        kwargs: `standardize`, and arguments of `ProbeMetric`.
    """

    def __init__(
        self,
        *,
        lrs: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        epochs: int = 100,
        batch_size: int = 1024,
        holdout: float = 0.1,
        weight_decay: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not lrs or min(lrs) <= 0:
            raise ValueError(f'`lrs` must be positive numbers, got {lrs}.')
        if not 0 < holdout < 1:
            raise ValueError(f'`holdout` must be between 0 and 1, got {holdout}.')
        if epochs < 1 or batch_size < 1:
            raise ValueError(
                f'`epochs` and `batch_size` must be at least 1, got {epochs} and {batch_size}.'
            )
        self.lrs = tuple(lrs)
        self.epochs = epochs
        self.batch_size = batch_size
        self.holdout = holdout
        self.weight_decay = weight_decay
        self.seed = seed

    def names(self) -> list[str]:
        return [*super().names(), 'linear_lr', *(f'linear_top1_lr{lr:g}' for lr in self.lrs)]

    def measure(self, probe: Probe) -> dict[str, float]:
        probe = self.prepare(probe)
        best = self._choose(probe)
        heads = self._fit(probe, slice(None))
        each = [self.accuracies(head, probe) for head in heads]
        values = [*each[best], self.lrs[best], *(top1 for top1, _ in each)]
        return dict(zip(self.names(), values, strict=True))

    def _choose(self, probe: Probe) -> int:
        """Returns the number of the learning rate that is best on the holdout."""
        if len(self.lrs) == 1:
            return 0
        seen, held = split_classes(probe.bank_labels.cpu(), self.holdout, self.seed)
        if not len(held):
            raise DataError(
                'With one sample of each class no sample is left to choose a learning rate. Give one: '
                f'`lrs=[{self.lrs[len(self.lrs) // 2]:g}]`.'
            )
        seen, held = seen.to(probe.bank.device), held.to(probe.bank.device)
        features, labels = probe.bank[held], probe.bank_labels[held]
        heads = self._fit(probe, seen)
        accuracies = [_is_right(head, features, labels).mean().item() for head in heads]
        best = accuracies.index(max(accuracies))
        if best in (0, len(self.lrs) - 1):
            say(
                f"The best learning rate of the probe '{probe.name}', {self.lrs[best]:g}, is at the end of the sweep "
                f'({", ".join(f"{lr:g}" for lr in self.lrs)}): a wider `lrs` may find a better one.'
            )
        return best

    def _fit(self, probe: Probe, rows: Tensor | slice) -> list[nn.Linear]:
        features = probe.bank[rows]
        step = min(self.batch_size, len(features))
        with share_bar(f'linear probe, {len(self.lrs)} learning rates', Console()) as report:
            return fit_heads(
                features,
                probe.bank_labels[rows],
                probe.num_classes,
                lrs=[lr * step / 256 for lr in self.lrs],
                epochs=self.epochs,
                batch_size=step,
                weight_decay=self.weight_decay,
                seed=self.seed,
                report=report,
            )


def split_classes(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Splits the sample numbers of each class into most and a random share, at least one of two, that is held out."""
    generator = torch.Generator().manual_seed(seed)
    seen, held = [], []
    for label in labels.unique():
        ids = torch.nonzero(labels == label).flatten()
        ids = ids[torch.randperm(len(ids), generator=generator)]
        number = min(max(1, round(share * len(ids))), len(ids) - 1)
        held.append(ids[:number])
        seen.append(ids[number:])
    return torch.cat(seen).sort().values, torch.cat(held).sort().values
