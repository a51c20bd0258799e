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
    """Fits the one linear classifier that minimises |weights|^2 / 2 + `strength` * sum of cross entropies.

    That is scikit-learn's `LogisticRegression(C=strength)`, to its tolerance: the minimum is unique.

    Args:
        features: Of one spread in all directions, or it takes long.
        labels: From 0 on.
        num_classes: Number of classes.
        strength: Of the data against the weights, scikit-learn's C.
        max_iter: Steps of L-BFGS at most.

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
    """Trains a linear classifier for each learning rate, all of them in one pass over the features.

    SGD from zero, each rate falling to 0 along a cosine. The heads know nothing of each other: each becomes what it
    would become alone.

    Args:
        features: Frozen.
        labels: From 0 on.
        num_classes: Number of classes.
        lrs: Learning rates at the start.
        epochs: Visits to each feature.
        batch_size: Features in a step; all of them where there are fewer.
        momentum: Of SGD.
        weight_decay: Of SGD.
        seed: Of the order of features.
        report: Gets the share that is done.

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
    nn.init.zeros_(head.weight)  # the loss is convex: where it begins need not be drawn
    nn.init.zeros_(head.bias)
    return head


class _LinearMetric(ProbeMetric):
    """Reports top-1 and the mean over classes of each class's own, of linear classifiers.

    Args:
        standardize: Whether features are first brought to mean 0 and spread 1 of the bank, as the batch norm of
            MAE's linear probe does.
        kwargs: Arguments of `ProbeMetric`.
    """

    figure = 'linear'

    def __init__(self, *, standardize: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.standardize = standardize

    def names(self) -> list[str]:
        return [f'{self.figure}_top1', f'{self.figure}_mean_class']

    def prepare(self, probe: Probe) -> Probe:
        """The probe as it is fitted."""
        if len(probe.bank_labels.unique()) < 2:
            raise DataError(
                f"The linear probe '{probe.name}' needs at least two classes in its bank, got one. Put files into one "
                'folder per class, or write `path label` lines.'
            )
        return probe.standardized() if self.standardize else probe

    def figures(self, head: nn.Linear, probe: Probe) -> dict[str, float]:
        """How often a classifier is right about the queries."""
        right = (_predict(head, probe.queries) == probe.query_labels).double()
        own = [right[probe.query_labels == label].mean() for label in probe.query_labels.unique()]
        values = 100 * right.mean().item(), 100 * torch.stack(own).mean().item()
        return dict(zip(_LinearMetric.names(self), values, strict=True))


@torch.no_grad()
def _predict(head: nn.Linear, features: Tensor) -> Tensor:
    return head(features.to(head.weight.dtype)).argmax(dim=1)


def accuracy(head: nn.Linear, features: Tensor, labels: Tensor) -> float:
    """Share of features, in percent, that a classifier is right about."""
    return 100 * (_predict(head, features) == labels).double().mean().item()


@METRICS.register_module()
class LogisticAccuracy(_LinearMetric):
    """Accuracy of the logistic regression that fits the bank best, for each probe that the samples name.

    Nothing is drawn and nothing to be tuned but `strength`: the classifier is scikit-learn's. Meant for up to some
    ten thousand features; `LinearProbeAccuracy` for more. Reports `logistic_top1` and `logistic_mean_class` in percent.

    Args:
        strength: Of the data against small weights, scikit-learn's C.
        max_iter: Steps of L-BFGS at most.
        kwargs: `standardize`, and arguments of `ProbeMetric`.
    """

    figure = 'logistic'

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
        return self.figures(head, probe)


@METRICS.register_module()
class LinearProbeAccuracy(_LinearMetric):
    """Accuracy of a linear classifier of frozen features, for a sweep of learning rates at the cost of one.

    The rate is chosen without the queries: by `holdout` of each class of the bank, which heads of a first fit haven't
    seen. Those of a second fit have the whole bank. Reports in percent, per probe: `linear_top1` and
    `linear_mean_class` of the rate that was chosen, which is `linear_lr`, and `linear_top1_lrX` of each.

    Args:
        lrs: Learning rates for batches of 256, scaled with the batch.
        epochs: Visits to each feature.
        batch_size: Features in a step.
        holdout: Share of the bank's classes that the rate is chosen by.
        weight_decay: Of SGD.
        seed: Of the order of features, and of what is held out.
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
        each = [accuracy(head, probe.queries, probe.query_labels) for head in heads]
        values = [*self.figures(heads[best], probe).values(), self.lrs[best], *each]
        return dict(zip(self.names(), values, strict=True))

    def _choose(self, probe: Probe) -> int:
        """The number of the rate whose head is right most often about a part of the bank that it hasn't seen."""
        if len(self.lrs) == 1:
            return 0
        seen, held = split_classes(probe.bank_labels.cpu(), self.holdout, self.seed)
        if not len(held):
            raise DataError(
                'With one sample of each class there is none to choose a learning rate by. Give one rate: '
                f'`lrs=[{self.lrs[len(self.lrs) // 2]:g}]`.'
            )
        seen, held = seen.to(probe.bank.device), held.to(probe.bank.device)
        features, labels = probe.bank[held], probe.bank_labels[held]
        shares = [accuracy(head, features, labels) for head in self._fit(probe, seen)]
        best = shares.index(max(shares))
        if best in (0, len(self.lrs) - 1):
            say(
                f"The best learning rate of the probe '{probe.name}', {self.lrs[best]:g}, is at the end of the sweep "
                f'({", ".join(f"{lr:g}" for lr in self.lrs)}): a wider `lrs` may find a better one.'
            )
        return best

    def _fit(self, probe: Probe, rows: Tensor | slice) -> list[nn.Linear]:
        features = probe.bank[rows]
        step = min(self.batch_size, len(features))
        with share_bar(f'linear probe, {len(self.lrs)} rates', Console()) as report:
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
    """Numbers of most samples of each class, and of a share of it that is drawn and held out.

    One sample at least is held out of each class that has two.

    Shape:
        (R,) -> (about R * (1 - share),), (about R * share,)
    """
    generator = torch.Generator().manual_seed(seed)
    seen, held = [], []
    for label in labels.unique():
        ids = torch.nonzero(labels == label).flatten()
        ids = ids[torch.randperm(len(ids), generator=generator)]
        number = min(max(1, round(share * len(ids))), len(ids) - 1)
        held.append(ids[:number])
        seen.append(ids[number:])
    return torch.cat(seen).sort().values, torch.cat(held).sort().values
