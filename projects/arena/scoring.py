# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Scores frozen features: which test samples simple classifiers get right.

A feature is the mean of the patch tokens. Of a clip, it is the mean, the change and the spread of these over 8 frames,
or over the time steps of an encoder of clips. S samples, C channels, T H W frames and pixels, D width.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data import LabelledSet
from vicmae.engine.hardware import cpu_has_bfloat16
from vicmae.engine.optimizers.bfloat16 import compute_in_bfloat16
from vicmae.evaluation.metrics.knn import effective_rank, knn_predict, mean_cosine
from vicmae.evaluation.metrics.linear_probe import fit_logistic_regression
from vicmae.evaluation.metrics.probe import Probe
from vicmae.models.aggregators import StatisticsOverTime

K = 10
_BATCH_FRAMES = 256
_STEPS_OF_LOGISTIC = 200
_FLOOR_SIDE = 24

Right = dict[str, dict[str, str]]  # of each set and classifier: a '1' or '0' for each test sample


@torch.no_grad()
def encode(model: Any, pixels: Tensor) -> Tensor:
    """Encodes images (S, C, H, W) to (S, D), or clips (S, T, C, H, W) to (S, 3 * D)."""
    model.eval()
    size = max(1, _BATCH_FRAMES // (pixels.shape[1] if pixels.ndim == 5 else 1))
    with compute_in_bfloat16(model) if cpu_has_bfloat16() else nullcontext():
        return torch.cat([_encode_batch(model, part).float() for part in pixels.split(size)])


def _encode_batch(model: Any, pixels: Tensor) -> Tensor:
    normal = model.data_preprocessor.normalize(pixels)
    backbone = model.backbone
    if pixels.ndim == 4 or backbone.takes_clips:
        inputs = normal.transpose(1, 2) if pixels.ndim == 5 else normal
        (tokens,) = backbone(inputs)
        patches, _ = backbone.split_prefix(tokens)
        steps = (
            patches.float().unflatten(1, backbone.grid_of(inputs)).mean(dim=(2, 3))
        )  # (S, T', D)
        return steps[:, 0] if pixels.ndim == 4 else StatisticsOverTime()(steps)
    frames = _encode_batch(model, pixels.flatten(0, 1))
    return StatisticsOverTime()(frames.unflatten(0, pixels.shape[:2]))


def score(
    model: Any, sets: Iterable[LabelledSet], *, search: bool
) -> tuple[Right, dict[str, float]]:
    """Classifies the test samples of each set.

    Args:
        model: A model with a backbone.
        sets: The labelled sets.
        search: Whether to test on `dev` with classifiers that are fitted to `fit`; `val` is not used then.
    """
    right: Right = {}
    health: dict[str, float] = {}
    for labelled in sets:
        used = labelled.splits != 'val' if search else np.ones(len(labelled.labels), bool)
        features = encode(model, torch.from_numpy(labelled.pixels[used]))
        labels = torch.from_numpy(labelled.labels[used])
        parts = [(bank[used], query[used]) for bank, query in labelled.parts(search=search)]
        right[labelled.name] = dict(
            logistic=_join(parts, [_logistic(_probe(features, labels, *part)) for part in parts]),
            knn=_join(parts, [_knn(_probe(features, labels, *part)) for part in parts]),
        )
        health[f'{labelled.name}/effective_rank'] = round(effective_rank(features), 2)
        health[f'{labelled.name}/mean_cosine'] = round(mean_cosine(features), 4)
    return right, health


def score_floor(sets: Iterable[LabelledSet]) -> Right:
    """Classifies by the nearest neighbour of grey pixels, 24 x 24: of images, or of the mean change between frames."""
    right: Right = {}
    for labelled in sets:
        pixels = torch.from_numpy(labelled.pixels).float().mean(dim=-3)  # grey
        if pixels.ndim == 4:
            pixels = pixels.diff(dim=1).abs().mean(dim=1)
        small = F.interpolate(pixels[:, None], (_FLOOR_SIDE, _FLOOR_SIDE), mode='area').flatten(1)
        labels, parts = torch.from_numpy(labelled.labels), labelled.parts(search=False)
        answers = []
        for bank, query in parts:
            probe = _probe(small, labels, bank, query)
            nearest = torch.cdist(probe.queries, probe.bank).argmin(dim=1)
            answers.append(probe.bank_labels[nearest] == probe.query_labels)
        right[labelled.name] = dict.fromkeys(('logistic', 'knn'), _join(parts, answers))
    return right


def _probe(features: Tensor, labels: Tensor, bank: np.ndarray, query: np.ndarray) -> Probe:
    return Probe(features[bank], labels[bank], features[query], labels[query])


def _logistic(probe: Probe) -> Tensor:
    probe = probe.standardized()
    head = fit_logistic_regression(
        probe.bank, probe.bank_labels, probe.num_classes, max_iter=_STEPS_OF_LOGISTIC
    )
    with torch.no_grad():
        return head(probe.queries.double()).argmax(dim=1) == probe.query_labels


def _knn(probe: Probe) -> Tensor:
    return knn_predict(probe.queries, probe.bank, probe.bank_labels, k=K) == probe.query_labels


def _join(parts: list[tuple[np.ndarray, np.ndarray]], answers: list[Tensor]) -> str:
    """Writes a '1' or '0' for each sample that is a query of any fold, in the order of the set."""
    marks = np.full(len(parts[0][1]), '', dtype='<U1')
    for (_, query), right in zip(parts, answers, strict=True):
        marks[query] = np.where(right.numpy(), '1', '0')
    return ''.join(marks)
