# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features that were computed once, kept under what they follow from: weights, data and protocol. D width."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from vicmae.checkpoints.read import load_checkpoint_file
from vicmae.checkpoints.write import write_checkpoint
from vicmae.datasets.mixed import MixedDataset
from vicmae.errors import CheckpointError
from vicmae.utils.log import say, warn
from vicmae.utils.progress import share_bar

_FORMAT = 2
_DIGITS = 12
_FILES_PER_PICTURE = 1000

# What a model says of a sample, in plain values, and its `feature` (D,).
Row = dict[str, Any]


@dataclass(frozen=True)
class FeatureCache:
    """Features of one model on one set of data under one protocol, in one file.

    Args:
        folder: Where such files lie.
        weights: Hash of the model's weights.
        data: Hash of the samples.
        protocol: Hash of what is done with them.
    """

    folder: Path
    weights: str
    data: str
    protocol: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f'{self.weights}-{self.data}-{self.protocol}.pth'

    def read(self) -> list[Row] | None:
        """The rows, None where they weren't kept or can't be read."""
        if not self.path.exists():
            return None
        try:
            kept = load_checkpoint_file(self.path)
        except CheckpointError as error:
            warn(f'{error} The features are computed again.')
            return None
        missing = kept.get('missing', 0)
        unread = f' {missing} more could not be read then.' if missing else ''
        say(
            f'Features of {len(kept["rows"])} samples, from {kept["time"]}: weights, data and protocol are those of '
            f'{str(self.path)!r}.{unread} `--cfg-options test_cfg.cache_dir=None` computes them again.'
        )
        return join_features(kept['rows'], kept['features'])

    def write(self, rows: Sequence[Row], missing: int = 0) -> None:
        """Keeps the rows; says so where there is no room for them.

        Args:
            rows: What was computed.
            missing: How many samples beside them could not be read.
        """
        plain, features = part_features(rows)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            now = time.strftime('%Y-%m-%d %H:%M:%S')
            kept = dict(features=features, rows=plain, missing=missing, time=now)
            write_checkpoint(self.path, kept)
        except (OSError, CheckpointError) as error:
            warn(f'The features are not kept: {error} `test_cfg.cache_dir` names another folder.')
            return
        unread = (
            f' {missing} more could not be read; delete the file once they can be.'
            if missing
            else ''
        )
        say(f'Features of {len(rows)} samples are kept in {str(self.path)!r}.{unread}')


def part_features(rows: Sequence[Row]) -> tuple[list[Row], Tensor]:
    """What is known of samples, and their features in one tensor (S, D), which is quicker to store and to send."""
    plain = [{key: value for key, value in row.items() if key != 'feature'} for row in rows]
    return plain, torch.stack([row['feature'] for row in rows]) if rows else torch.empty(0, 0)


def join_features(plain: Sequence[Row], features: Tensor) -> list[Row]:
    """The rows that were parted."""
    return [{**row, 'feature': own} for row, own in zip(plain, features, strict=True)]


def hash_weights(state_dict: Mapping[str, Tensor]) -> str:
    """A hash of a model's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_DIGITS]


def hash_data(dataset: Any) -> str:
    """A hash of which samples there are: the path and label of each, and its file's size and time of change."""
    digest = hashlib.sha256()
    sources = dataset.sources if isinstance(dataset, MixedDataset) else (dataset,)
    names = dataset.names if isinstance(dataset, MixedDataset) else ('',)
    for name, source in zip(names, sources, strict=True):
        digest.update(f'{name} {len(source)}'.encode())
        if hasattr(source, 'labels'):
            digest.update(source.labels().tobytes())
        if not hasattr(source, 'path_of'):
            continue
        with share_bar(f'looking for changed files, {name}', Console()) as report:
            for index in range(len(source)):
                path = source.path_of(index)
                digest.update(f'{path} {_stamp(path)}\n'.encode('utf-8', 'surrogateescape'))
                if index % _FILES_PER_PICTURE == 0:
                    report(index / len(source))
    return digest.hexdigest()[:_DIGITS]


def hash_protocol(**settings: Any) -> str:
    """A hash of settings: plain values, configs among them."""
    text = json.dumps(dict(settings, format=_FORMAT), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _stamp(path: str) -> str:
    """Size and time of change of a file, or of the shard that it is named after; nothing for what lies elsewhere."""
    while path != os.path.dirname(path):
        try:
            stat = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
        else:
            return f'{stat.st_size} {stat.st_mtime_ns}'
    return ''
