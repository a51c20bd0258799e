# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A cache of features, by the hashes of weights, data and protocol. D width."""

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
_FILES_PER_REPORT = 1000

# A model's output for a sample, in plain values, and its `feature` (D,).
Row = dict[str, Any]


@dataclass(frozen=True)
class FeatureCache:
    """Features of one model on one set of data under one protocol, in one file named by their hashes."""

    folder: Path
    weights: str
    data: str
    protocol: str

    @property
    def path(self) -> Path:
        """Returns the path of the file."""
        return self.folder / f'{self.weights}-{self.data}-{self.protocol}.pth'

    def read(self) -> list[Row] | None:
        """Returns the rows, None if they are not stored or can't be read."""
        if not self.path.exists():
            return None
        try:
            stored = load_checkpoint_file(self.path)
        except CheckpointError as error:
            warn(f'{error} The features are computed again.')
            return None
        missing = stored.get('missing', 0)
        unread = f' {missing} more could not be read then.' if missing else ''
        say(
            f'Features of {len(stored["rows"])} samples, from {stored["time"]}: weights, data and protocol are those '
            f'of {str(self.path)!r}.{unread} `--cfg-options test_cfg.cache_dir=None` computes them again.'
        )
        return join_features(stored['rows'], stored['features'])

    def write(self, rows: Sequence[Row], missing: int = 0) -> None:
        """Stores the rows, with the number of samples that could not be read; warns if it can't."""
        plain, features = part_features(rows)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            now = time.strftime('%Y-%m-%d %H:%M:%S')
            content = dict(features=features, rows=plain, missing=missing, time=now)
            write_checkpoint(self.path, content)
        except (OSError, CheckpointError) as error:
            warn(
                f'The features are not stored: {error} Set another folder by `test_cfg.cache_dir`.'
            )
            return
        unread = f' {missing} more could not be read; delete the file once they can be.'
        say(
            f'Features of {len(rows)} samples are stored in {str(self.path)!r}.'
            f'{unread if missing else ""}'
        )


def part_features(rows: Sequence[Row]) -> tuple[list[Row], Tensor]:
    """Splits rows into plain values and features in one tensor (S, D), which is faster to store and to send."""
    plain = [{key: value for key, value in row.items() if key != 'feature'} for row in rows]
    return plain, torch.stack([row['feature'] for row in rows]) if rows else torch.empty(0, 0)


def join_features(plain: Sequence[Row], features: Tensor) -> list[Row]:
    """Reverses `part_features`."""
    return [{**row, 'feature': feature} for row, feature in zip(plain, features, strict=True)]


def hash_weights(state_dict: Mapping[str, Tensor]) -> str:
    """Computes the hash of a model's weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_DIGITS]


def hash_data(dataset: Any) -> str:
    """Computes the hash of a data set: the path and label of each sample, and its file's size and time of change."""
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
                if index % _FILES_PER_REPORT == 0:
                    report(index / len(source))
    return digest.hexdigest()[:_DIGITS]


def hash_protocol(**settings: Any) -> str:
    """Computes the hash of settings: plain values, including configs."""
    text = json.dumps(dict(settings, format=_FORMAT), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _stamp(path: str) -> str:
    """Returns size and time of change of a file, or of the shard in its path; '' for a remote one."""
    while path != os.path.dirname(path):
        try:
            stat = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
        else:
            return f'{stat.st_size} {stat.st_mtime_ns}'
    return ''
