# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of images, videos and whole data sets."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import Dataset

from vicmae.datasets.clip_reader import ClipReader, Piece, Span
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sources.found_files import walk
from vicmae.engine.encoding import FeatureRow, RowEncoder, encode_batch
from vicmae.errors import ConfigError, DataError
from vicmae.io.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from vicmae.io.video import VideoReader
from vicmae.utils.isolated_pool import be_one_of_many, run_isolated
from vicmae.utils.log import warn
from vicmae.utils.names import name_some
from vicmae.utils.progress import live_bar

from .model import load_model

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
FRAMES_OF_A_VIDEO = 8  # by default, for a model of images


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


class FeatureExtractor:
    """Encodes images and videos to features: `extractor(inputs)`.

    An input is a path, a folder (all images and videos below it, sorted by path), a PIL image, an array (H, W, 3) or
    (T, H, W, 3), a tensor (3, H, W) or (T, 3, H, W), uint8, or an open `VideoReader`. Inputs may be one of these, a
    list, or a generator.

    Files are read in batches, and long videos in parts: memory doesn't grow with them, but for the features. Each frame
    is decoded once, also for windows that overlap.

    Args:
        checkpoint: Path of the weights, or a model from `load_model`.
        config: Path or name of a config, or a loaded one. None for the one that the checkpoint stores.
        device: Device of the model: by default a GPU if there is one, or where the given model is.
        num_workers: Number of processes that read files; 0 for none. With some, a file that crashes its decoder is one
            that can't be read, and doesn't end this process.
        batch_size: Frames or, of a model of clips, clips that are encoded together.
        num_frames: Evenly spaced frames of a window or video. By default 8, or the frames of the model's clips.
        window: Seconds of a window of a video, each of which gets a feature. None for one of the whole video.
        stride: Seconds from one window to the next; by default `window`.
        output: 'pooled' for one vector for each image, video or window, (D,); 'frames' for one of each frame, or time
            step of a model of clips; 'dense' for the patches of each of these, (h, w, D).
        on_bad_file: 'raise' ends at the first input that can't be read; 'skip' leaves it out.
        pads: Whether a last batch that isn't full is filled up. On the same device, a feature is then the same to the
            last bit whatever follows it.

    Attributes:
        bad_files: Why inputs of the last call couldn't be read.
        notes: What is to be known of others, such as that a part of a video can't be read.

    Examples:
        >>> extractor = FeatureExtractor(load_model('vicmae_vit-tiny-p8_debug'))
        >>> extractor(np.zeros((48, 64, 3), np.uint8)).shape
        torch.Size([1, 64])
        >>> extractor = FeatureExtractor('epoch_100.pth', window=2, stride=1)  # doctest: +SKIP
        >>> for row in extractor.rows('videos/'):  # doctest: +SKIP
        ...     print(row.source, row.times[0], row.feature.shape)
    """

    def __init__(
        self,
        checkpoint: str | Path | nn.Module,
        config: str | Path | Config | None = None,
        *,
        device: str | torch.device | None = None,
        num_workers: int = 0,
        batch_size: int = 64,
        num_frames: int | None = None,
        window: float | None = None,
        stride: float | None = None,
        output: Literal['pooled', 'frames', 'dense'] = 'pooled',
        on_bad_file: Literal['raise', 'skip'] = 'raise',
        pads: bool = False,
    ) -> None:
        if on_bad_file not in ('raise', 'skip'):
            raise ValueError(f"`on_bad_file` must be 'raise' or 'skip', got {on_bad_file!r}.")
        if num_workers < 0:
            raise ValueError(f'`num_workers` must be at least 0, got {num_workers}.')
        if isinstance(checkpoint, nn.Module):
            self.model: Any = checkpoint if device is None else checkpoint.to(_as_device(device))
        else:
            device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
            self.model = load_model(config, checkpoint, device=_as_device(device))
        self.model.eval()
        backbone = self.model.backbone
        self.num_workers, self.on_bad_file = num_workers, on_bad_file
        self.new_encoder = partial(
            RowEncoder, self.model, batch_size=batch_size, output=output, pads=pads
        )
        self.new_encoder()  # checks the arguments
        if num_frames is None:
            num_frames = backbone.num_frames if backbone.takes_clips else FRAMES_OF_A_VIDEO
        self.reader = ClipReader(
            backbone.img_size,
            num_frames,
            window,
            stride,
            takes_clips=backbone.takes_clips,
            per_frame=output != 'pooled' and not backbone.takes_clips,
        )
        self.bad_files: dict[str, str] = {}
        self.notes: dict[str, str] = {}

    def __call__(self, inputs: Any) -> Tensor:
        """Returns the features of all rows: (S, D), or (S, h, w, D) of `dense`."""
        features = [row.feature for row in self.rows(inputs)]
        if not features:
            raise DataError(
                f'There is nothing to encode. {"; ".join(self.bad_files.values())}'.strip()
            )
        return torch.stack(features)

    def rows(self, inputs: Any) -> Iterator[FeatureRow]:
        """Yields each feature with its frames and times, in the order of the inputs."""
        self.bad_files, self.notes = {}, {}
        encoder = self.new_encoder()
        begun = None
        for number, source, piece in self._pieces(each_input(inputs)):
            if isinstance(piece, str):
                if self.on_bad_file == 'raise':
                    raise DataError(piece)
                self.bad_files[_name_of(number, source)] = piece
                continue
            if number != begun:
                encoder.begin()
                begun = number
            if piece.note:
                self.notes[_name_of(number, source)] = piece.note
            yield from encoder.add(source, piece)
        yield from encoder.finish()

    def _pieces(self, inputs: Iterator[Any]) -> Iterator[tuple[int, Any, Piece | str]]:
        """Yields the pieces of each input, or why it can't be read: its number, itself, and a piece."""
        if not self.num_workers:
            for number, source in enumerate(inputs):
                for piece in read_guarded(self.reader, source):
                    yield number, source, piece
            return
        outcomes: Any = run_isolated(
            partial(_read_alone, self.reader),
            enumerate(inputs),
            num_workers=self.num_workers,
            seconds=SECONDS_PER_PIECE,
            in_order=True,
        )
        with closing(outcomes):
            for outcome in outcomes:
                number, source = outcome.item
                if outcome.error:
                    yield (
                        number,
                        source,
                        f"Can't read {_name_of(number, source)!r}: {outcome.error}.",
                    )
                elif outcome.value is not None:
                    yield number, source, outcome.value


def _as_device(name: str | torch.device) -> torch.device:
    """Refuses a device that isn't there."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        reason = str(error).splitlines()[0].rstrip('.')
        raise ConfigError(
            f"The device can't be {str(name)!r}: {reason}. 'cpu' always works."
        ) from error
    return device


SECONDS_PER_PIECE = 300.0  # until a process that reads a part of a file is taken for hung


def read_guarded(
    reader: ClipReader, source: Any, span: Span | None = None
) -> Iterator[Piece | str]:
    """Reads an input, and yields a last text if it can't be read."""
    try:
        yield from reader(source, span)
    except DataError as error:
        yield str(error)


def _read_alone(reader: ClipReader, item: tuple[int, Any]) -> Iterator[Piece | str]:
    """Reads an input in a separate process."""
    be_one_of_many()
    yield from read_guarded(reader, item[1])


def _name_of(number: int, source: Any) -> str:
    return str(source) if isinstance(source, (str, os.PathLike)) else f'input {number}'


def each_input(inputs: Any) -> Iterator[Any]:
    """Yields single inputs of a `FeatureExtractor`; of folders, the files below them."""
    alone = (str, os.PathLike, Image.Image, np.ndarray, Tensor, VideoReader)
    for source in [inputs] if isinstance(inputs, alone) else inputs:
        if isinstance(source, (str, os.PathLike)):
            yield from each_file([source])
        else:
            yield source


def load_clips(
    paths: Sequence[str], size: int | tuple[int, int], *, num_frames: int = 8
) -> list[Tensor]:
    """Reads images as clips of one frame, and evenly spaced frames of videos, cropped to `size`.

    Shape:
        -> clips (T, C, size, size), uint8
    """
    reader = ClipReader(size, num_frames, takes_clips=True)
    return [torch.from_numpy(next(reader(path)).units[0]) for path in paths]


def encode_files(
    model: Any,
    paths: Paths,
    *,
    num_frames: int | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
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
        batch_size: Frames or, of a model of clips, clips that are encoded together.
        num_workers: Number of processes that read files; 0 for none.
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
    files = list_media(paths)
    extractor = FeatureExtractor(
        model,
        num_workers=num_workers,
        num_frames=num_frames,
        batch_size=batch_size,
        on_bad_file=on_bad_file,
    )
    features = torch.empty(0)
    encoded: list[str] = []
    columns = ('encoding', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = live_bar(Console(stderr=True), *columns, total=len(files), shown=progress)
    with bar as update:
        for row in extractor.rows(_counted(files, update)):
            if not len(features):
                features = torch.empty(len(files), len(row.feature))
            features[len(encoded)] = row.feature
            encoded.append(row.source)
    bad = list(extractor.bad_files)
    if bad:
        warn(f"Left out {len(bad)} of {len(files)} files that can't be read: {name_some(bad)}.")
    if not encoded:
        raise DataError(f'None of the {len(files)} files can be read, such as {bad[0]!r}.')
    features = features[: len(encoded)]
    return (features, encoded) if return_paths else features


def _counted(files: Sequence[str], update: Callable[..., None]) -> Iterator[str]:
    """Yields files, and advances a progress bar when the next one is asked for."""
    for file in files:
        yield file
        update(advance=1)


def list_media(paths: Paths) -> list[str]:
    """Lists files: those given, and the images and videos below given folders, sorted by path."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise DataError('`paths` is empty. Give images, videos or folders of them.')
    return list(each_file(given))


def each_file(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Yields files: those given, and the images and videos below given folders, sorted by path."""
    extensions = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    for given in paths:
        path = os.fspath(given)
        if not os.path.isdir(path):
            yield path
            continue
        is_empty = True
        for folder, names in walk(path):
            for name in names:
                if name.lower().endswith(extensions):
                    is_empty = False
                    yield os.path.join(path, folder, name)
        if is_empty:
            raise DataError(f'The folder {path!r} has no images or videos.')


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
        features.append(encode_batch(model, batch))
        for sample in batch.data_samples:
            labels.append(int(sample.gt_label))
            meta.append(dict(sample.metainfo_items()))
    return Features(torch.cat(features), torch.tensor(labels), meta)
