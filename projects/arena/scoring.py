# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Scores frozen features: which test samples simple classifiers get right.

A feature is the mean of the patch tokens. Of a clip, it is the mean, the change and the spread of these over 8 frames,
or over the time steps of an encoder of clips. S samples, C channels, T H W frames and pixels, T' time steps of N
tokens, D width.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from data import NUM_FRAMES, LabelledSet
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
_QUERIES, _ATTENTIVE_EPOCHS, _ATTENTIVE_BATCH, _ATTENTIVE_LR = 4, 20, 64, 3e-3

Right = dict[str, dict[str, str]]  # of each set and classifier: a '1' or '0' for each test sample


@torch.no_grad()
def encode(model: Any, pixels: Tensor) -> Tensor:
    """Encodes images (S, C, H, W) or clips (S, T, C, H, W) to patch tokens (S, T', N, D), T' = 1 for images."""
    model.eval()
    size = max(1, _BATCH_FRAMES // (pixels.shape[1] if pixels.ndim == 5 else 1))
    device = next(model.parameters()).device
    fast = device.type == 'cuda' or cpu_has_bfloat16()
    with compute_in_bfloat16(model) if fast else nullcontext():
        parts = [_encode_batch(model, part.to(device)) for part in pixels.split(size)]
    return torch.cat([tokens.float().cpu() for tokens in parts])


def _encode_batch(model: Any, pixels: Tensor) -> Tensor:
    backbone = model.backbone
    inputs = model.data_preprocessor.normalize(pixels)
    if pixels.ndim == 5:
        inputs = inputs.transpose(1, 2) if backbone.takes_clips else inputs.flatten(0, 1)
    (tokens,) = backbone(inputs)
    patches, _ = backbone.split_prefix(tokens)
    times, rows, columns = backbone.grid_of(inputs)
    tokens = patches.unflatten(1, (times, rows * columns))
    return tokens.reshape(len(pixels), -1, *tokens.shape[2:])  # frames of a clip are its time steps


def pool(tokens: Tensor) -> Tensor:
    """Pools patch tokens (S, T', N, D) to features: (S, D) of images, (S, 3 * D) of clips."""
    steps = tokens.mean(dim=2)
    return steps[:, 0] if steps.shape[1] == 1 else StatisticsOverTime()(steps)


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
        tokens = encode(model, torch.from_numpy(labelled.pixels[used]))
        features, labels = pool(tokens), torch.from_numpy(labelled.labels[used])
        parts = [(bank[used], query[used]) for bank, query in labelled.parts(search=search)]
        right[labelled.name] = dict(
            logistic=_join(parts, [_logistic(_probe(features, labels, *part)) for part in parts]),
            knn=_join(parts, [_knn(_probe(features, labels, *part)) for part in parts]),
        )
        if not search:
            split = labelled.splits != 'val', labelled.splits == 'val'
            answer = _attentive(_probe(tokens, labels, *split))
            right[labelled.name]['attentive'] = _join([split], [answer])
        health[f'{labelled.name}/effective_rank'] = round(effective_rank(features), 2)
        health[f'{labelled.name}/mean_cosine'] = round(mean_cosine(features), 4)
    return right, health


@torch.no_grad()
def classify(model: Any, sets: Iterable[LabelledSet]) -> Right:
    """Classifies the samples of `val` by the heads of a model that was trained on the labels."""
    model.eval()
    right: Right = {}
    for labelled in sets:
        query = labelled.splits == 'val'
        marks = []
        pixels = torch.from_numpy(labelled.pixels[query])
        for part in pixels.split(_BATCH_FRAMES // NUM_FRAMES):
            samples = [DataSample(metainfo=dict(head=labelled.name)) for _ in part]
            batch = model.test_step(dict(inputs=list(part), data_samples=samples))
            marks += [sample.pred_score.argmax().item() for sample in batch]
        answer = torch.tensor(marks) == torch.from_numpy(labelled.labels[query])
        right[labelled.name] = dict(finetune=_join([(~query, query)], [answer]))
    return right


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


class AttentivePooling(nn.Module):
    """Classifies the mean of the tokens under the attention of some queries, with an embedding of each time step.

    Keys and values need no projection: that of the keys is in the queries, that of the values in the classifier.

    Shape:
        (B, T', N, D) -> (B, num_classes)
    """

    def __init__(self, times: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.zeros(times, 1, width))
        self.queries = nn.Parameter(torch.randn(_QUERIES, width) / width)
        self.head = nn.Linear(_QUERIES * width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = (tokens + self.time).flatten(1, 2)
        attention = (tokens @ self.queries.T).softmax(dim=1)  # (B, T'*N, Q)
        return self.head((attention.transpose(1, 2) @ tokens).flatten(1))


def _attentive(probe: Probe) -> Tensor:
    """Trains an attentive pooling with a linear classifier on frozen tokens, the same steps for each encoder."""
    torch.manual_seed(0)
    std, mean = torch.std_mean(probe.bank, dim=(0, 1, 2))
    bank, queries = ((tokens - mean) / (std + 1e-6) for tokens in (probe.bank, probe.queries))
    model = AttentivePooling(bank.shape[1], bank.shape[3], probe.num_classes)
    batches = max(1, len(bank) // _ATTENTIVE_BATCH)
    steps = _ATTENTIVE_EPOCHS * batches
    adamw = torch.optim.AdamW(model.parameters(), lr=_ATTENTIVE_LR, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adamw, steps)
    for _ in range(_ATTENTIVE_EPOCHS):
        for ids in torch.randperm(len(bank)).tensor_split(batches):
            loss = F.cross_entropy(model(bank[ids]), probe.bank_labels[ids])
            adamw.zero_grad()
            loss.backward()
            adamw.step()
            schedule.step()
    with torch.no_grad():
        return model(queries).argmax(dim=1) == probe.query_labels


def _join(parts: list[tuple[np.ndarray, np.ndarray]], answers: list[Tensor]) -> str:
    """Writes a '1' or '0' for each sample that is a query of any fold, in the order of the set."""
    marks = np.full(len(parts[0][1]), '', dtype='<U1')
    for (_, query), right in zip(parts, answers, strict=True):
        marks[query] = np.where(right.numpy(), '1', '0')
    return ''.join(marks)
