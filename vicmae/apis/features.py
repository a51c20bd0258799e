# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features of a whole data set."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from mmengine.dataset import pseudo_collate
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import Dataset

from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sources.found_files import walk
from vicmae.datasets.transforms.build import Pipeline
from vicmae.errors import DataError
from vicmae.io.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from vicmae.structures import NO_LABEL, Clips
from vicmae.utils.log import warn
from vicmae.utils.names import name_some
from vicmae.utils.progress import live_bar

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class Features:
    """Features of the S samples of a data set, in their order.

    Attributes:
        features: (S, D)
        labels: (S,), -1 for samples without one.
        meta: Path, kind and the tags of the source of each sample.
    """

    features: Tensor
    labels: Tensor
    meta: list[dict[str, Any]]


def load_clips(
    paths: Sequence[str], size: int | tuple[int, int], *, num_frames: int = 8
) -> list[Tensor]:
    """Reads images as clips of one frame, and evenly spaced frames of videos, cropped to `size`.

    Shape:
        -> clips (T, C, size, size), uint8
    """
    load = _clip_loader(size, num_frames)
    return [load(path) for path in paths]


def _clip_loader(size: int | tuple[int, int], num_frames: int) -> Callable[[str], Tensor]:
    """Returns a function that reads one file as `load_clips` does."""
    ending = [dict(type='CenterCrop', size=size), dict(type='PackClip')]
    image = Pipeline([dict(type='LoadImage'), *ending])
    sampler = dict(type='UniformFrames', num_frames=num_frames)
    video = Pipeline([dict(type='OpenVideo'), sampler, dict(type='DecodeFrames'), *ending])

    def load(path: str) -> Tensor:
        pipeline = video if path.lower().endswith(VIDEO_EXTENSIONS) else image
        return pipeline(dict(path=path, gt_label=NO_LABEL))['inputs']

    return load


@torch.no_grad()
def encode_files(
    model: Any,
    paths: Paths,
    *,
    num_frames: int | None = None,
    batch_size: int = 32,
    on_bad_file: Literal['raise', 'skip'] = 'raise',
    return_paths: bool = False,
    progress: bool | None = None,
) -> Tensor | tuple[Tensor, list[str]]:
    """Encodes images and videos to one vector each.

    That of a video is the mean of its frames' features, or the feature of a clip if the model encodes clips.

    Files are read batch by batch: memory doesn't grow with their number, but for the features.

    Args:
        model: From `load_model`.
        paths: A file, a folder with its sub-folders (sorted by path), or several of both. Images and videos are
            distinguished by extension.
        num_frames: Evenly spaced frames of a video. By default 8, or the frames of the model's clips.
        batch_size: Number of files in a batch.
        on_bad_file: 'raise' ends at the first file that can't be read; 'skip' leaves it out, with a warning.
        return_paths: Whether to return the path of each row too: of a folder's files, or without skipped ones.
        progress: Whether to show a progress bar; by default only on a terminal.

    Shape:
        -> (number of files, D)

    Examples:
        >>> from vicmae.apis import load_model
        >>> model = load_model('vicmae_vit-tiny-p8_debug')
        >>> features, files = encode_files(model, 'photos/', return_paths=True)  # doctest: +SKIP
    """
    if on_bad_file not in ('raise', 'skip'):
        raise ValueError(f"`on_bad_file` must be 'raise' or 'skip', got {on_bad_file!r}.")
    if batch_size < 1:
        raise ValueError(f'`batch_size` must be at least 1, got {batch_size}.')
    files = list_media(paths)
    if num_frames is None:
        num_frames = model.backbone.num_frames if model.backbone.takes_clips else 8
    load = _clip_loader(model.backbone.img_size, num_frames)
    model.eval()
    features = torch.empty(0)
    encoded: list[str] = []
    bad: list[str] = []
    bar = live_bar(
        Console(stderr=True),
        *('encoding', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        total=len(files),
        shown=progress,
    )
    with bar as update:
        for start in range(0, len(files), batch_size):
            clips = []
            for path in files[start : start + batch_size]:
                try:
                    clips.append(load(path))
                except DataError:
                    if on_bad_file == 'raise':
                        raise
                    bad.append(path)
                else:
                    encoded.append(path)
                update(advance=1)
            if not clips:
                continue
            batch = model.data_preprocessor(Clips(clips))
            part = model.extract_clip_feat(batch.inputs).float().cpu()
            if not len(features):
                features = torch.empty(len(files), part.shape[1])
            features[len(encoded) - len(part) : len(encoded)] = part
    if bad:
        warn(f"Left out {len(bad)} of {len(files)} files that can't be read: {name_some(bad)}.")
    if not encoded:
        raise DataError(f'None of the {len(files)} files can be read, such as {bad[0]!r}.')
    features = features[: len(encoded)]
    return (features, encoded) if return_paths else features


def list_media(paths: Paths) -> list[str]:
    """Lists files: those given, and the images and videos below given folders, sorted by path."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise DataError('`paths` is empty. Give images, videos or folders of them.')
    files: list[str] = []
    for path in [os.fspath(path) for path in given]:
        if not os.path.isdir(path):
            files.append(path)
            continue
        below = [
            os.path.join(path, folder, name)
            for folder, names in walk(path)
            for name in names
            if name.lower().endswith((*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS))
        ]
        if not below:
            raise DataError(f'The folder {path!r} has no images or videos.')
        files += below
    return files


@torch.no_grad()
def extract_features(
    model: Any, dataset: Dataset, *, batch_size: int = 64, num_workers: int = 0
) -> Features:
    """Encodes a data set of images or videos that are packed by `PackClip`.

    The model has `data_preprocessor` and `extract_clip_feat`, as `ViCMAE` has. Files that can't be read are left out.
    """
    model.eval()
    loader = SteadyLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
        replace=False,
    )
    features, labels, meta = [], [], []
    for batch in loader:
        inputs = model.data_preprocessor(batch).inputs
        features.append(model.extract_clip_feat(inputs).float().cpu())
        for sample in batch.data_samples:
            labels.append(int(sample.gt_label))
            meta.append(dict(sample.metainfo_items()))
    return Features(torch.cat(features), torch.tensor(labels), meta)
