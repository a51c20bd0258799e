# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads samples in the order of training, as the model gets them.

V views, B batch, C channels, T frames, H W pixels.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader

from vicmae.apis.launch import no_batch_text
from vicmae.apis.train_data import batches_of, build_train_loader, seed_of, set_epoch, sources_of
from vicmae.datasets.sample_key import SampleKey, as_sample_key
from vicmae.datasets.sources.source import Source
from vicmae.datasets.transforms import ClipView
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.models.layers import as_clip
from vicmae.models.masking import seeds_of_views
from vicmae.models.parts import build_part, build_preprocessor
from vicmae.structures import NO_LABEL, Batch, Clips, Mixed, Views

from .gaps import GapDraws, draw_gaps
from .steps import steps

_BATCHES_COUNTED = 100
_MOST_BAD = 20  # of a source, before no more of its samples are tried
_FRAMES_SHOWN = 4  # of a clip

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class ShownView:
    """One view of a sample, or a frame of its clip, and where it comes from.

    Attributes:
        frame: The untouched frame, uint8 of shape (H, W, 3), RGB.
        frame_id: Its number in the video; None for an image.
        box: What was cut out of it: top, left, height and width in its pixels; None where that isn't known.
        view: What the model gets, likewise uint8.
        visible: The same with the patches that the encoder doesn't see in gray; None without a masking.
    """

    frame: np.ndarray
    frame_id: int | None
    box: Box | None
    view: np.ndarray
    visible: np.ndarray | None


@dataclass(frozen=True, eq=False)
class ShownSample:
    """A sample, and what is known of it.

    Attributes:
        place: Which one of the epoch's samples it is, from 0 on.
        path: Its file.
        label: Its class, with its share where the sample is mixed with another; empty where there is none.
        frame_ids: Numbers of the frames that its views or its clips come from; none for an image.
        num_clips: How many clips these are; 1 where they are none.
        fps: Frames per second of its video; 0 for an image.
        views: Its views, or some frames of each of its clips.
    """

    place: int
    path: str
    label: str
    frame_ids: tuple[int, ...]
    num_clips: int
    fps: float
    views: tuple[ShownView, ...]


@dataclass(frozen=True, eq=False)
class ShownSource:
    """The samples of a source, and its share of batches.

    Attributes:
        name: Its name in the config.
        kind: 'image' or 'video'.
        size: How many samples it has.
        shares: Its share of each batch that was looked at, from 0 to 1.
        samples: Some of its samples, in the order of training.
        gaps: What its frame sampler draws; None for images.
        bad: Why a sample couldn't be read, by its path.
    """

    name: str
    kind: str
    size: int
    shares: tuple[float, ...]
    samples: tuple[ShownSample, ...]
    gaps: GapDraws | None
    bad: dict[str, str]


def browse(
    cfg: Config,
    *,
    number: int = 32,
    epoch: int = 0,
    report: Callable[[float], None] = lambda share: None,
) -> list[ShownSource]:
    """Loads the first samples of an epoch, as many of each source, also where they are fewer than a batch."""
    loader = build_train_loader(cfg, num_workers=0)
    set_epoch(loader, epoch)
    sources = sources_of(loader.dataset)
    each = -(-number // len(sources))
    batches = list(islice(batches_of(loader), _BATCHES_COUNTED)) or [_whole_epoch(loader)]
    shown = []
    for n, (name, source) in enumerate(sources.items()):
        own = _visits_to(loader.dataset, n, batches)
        loaded: list[_Loaded] = []
        bad: dict[str, str] = {}
        for count, _ in enumerate(_load_some(source, own, each, loaded, bad), start=1):
            report((n + min(1.0, count / each)) / len(sources))
        shown.append(
            ShownSource(
                name,
                source.kind,
                len(source),
                shares=_shares(loader.dataset, n, batches),
                samples=tuple(_show(loaded, loader, cfg)),
                gaps=draw_gaps(source, seed=seed_of(cfg)) if source.kind == 'video' else None,
                bad=bad,
            )
        )
    return shown


def gaps_of_sources(cfg: Config) -> dict[str, GapDraws]:
    """Draws frame gaps from each source of videos, without loading a sample."""
    sources = sources_of(build_train_loader(cfg, num_workers=0).dataset)
    return {
        name: draw_gaps(source, seed=seed_of(cfg))
        for name, source in sources.items()
        if source.kind == 'video'
    }


# ------------------------------------------------------------------------- the order of an epoch
def _source_of(dataset: Any, index: int) -> int:
    return dataset.source_of(index) if hasattr(dataset, 'source_of') else 0


def _whole_epoch(loader: DataLoader) -> list[SampleKey]:
    """Returns the keys of an epoch that is shorter than a batch, which training refuses."""
    text = f'Training would refuse this. {no_batch_text(loader)}'
    print_log(text, 'current', logging.WARNING)
    return [as_sample_key(key) for key in loader.sampler]


def _shares(dataset: Any, number: int, batches: Sequence[list[SampleKey]]) -> tuple[float, ...]:
    """Computes the share of a source in each batch."""
    of_it = [[_source_of(dataset, key.index) == number for key in batch] for batch in batches]
    return tuple(float(np.mean(batch)) for batch in of_it)


def _visits_to(
    dataset: Any, number: int, batches: Sequence[list[SampleKey]]
) -> list[tuple[int, SampleKey]]:
    """Visits to a source, each with its place in the epoch; the keys are the source's own."""
    start = dataset.span_of(number)[0] if hasattr(dataset, 'span_of') else 0
    epoch = (key for batch in batches for key in batch)
    return [
        (place, key._replace(index=key.index - start))
        for place, key in enumerate(epoch)
        if _source_of(dataset, key.index) == number
    ]


# ------------------------------------------------------------------------- samples, step by step
@dataclass(eq=False)
class _Loaded:
    """A sample as a worker loads it, with its untouched frames and its boxes."""

    place: int
    packed: Any
    seen: dict[str, Any] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)


def _load_some(
    source: Source,
    visits: Sequence[tuple[int, SampleKey]],
    number: int,
    loaded: list[_Loaded],
    bad: dict[str, str],
) -> Iterator[None]:
    """Loads the first visits that can be loaded, and says why others can't; yields after each."""
    for place, key in visits:
        if len(loaded) == number or len(bad) == _MOST_BAD:
            break
        try:
            loaded.append(_load(source, place, key))
        except DataError as error:
            bad[source.path_of(key.index)] = str(error)
        yield


def _load(source: Source, place: int, key: SampleKey) -> _Loaded:
    seen: dict[str, Any] = {}
    boxes: list[Box] = []
    changed = False
    for transform, (results,) in steps(source, [key]):
        changed |= isinstance(transform, ClipView) or bool({'views', 'inputs'} & set(results))
        if not changed:
            seen = results
        boxes = results.get('boxes', boxes)
    return _Loaded(place, results, seen, boxes)


# ------------------------------------------------------------------------- what the model makes of them
def _show(loaded: Sequence[_Loaded], loader: DataLoader, cfg: Config) -> Iterator[ShownSample]:
    """Collates samples, and runs the device's part of the augmentation and the mask over them."""
    if not loaded:
        return
    heads = cfg.model.get('head') or cfg.model.get('heads')
    preprocessor = build_preprocessor(cfg.model.data_preprocessor, heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(cfg))
        batch = preprocessor(loader.collate_fn([one.packed for one in loaded]), training=True)
        batch = _each_kind(batch, lambda one: _denormalize(one, preprocessor))
        is_masked = cfg.model.backbone.get('masking') is not None and not isinstance(batch, Clips)
        visible = _each_kind(batch, lambda one: _hide_patches(one, cfg)) if is_masked else None
    for n, one in enumerate(loaded):
        labels = batch.data_samples[n] if isinstance(batch, Clips) else None
        hidden = None if visible is None else _clips(visible, n)
        yield _describe(one, _clips(batch, n), hidden, labels)


def _each_kind(batch: Batch, change: Callable[[Any], Batch]) -> Batch:
    """Changes a batch, or the batch of each kind in a mixed one."""
    if isinstance(batch, Mixed):
        return batch.replace(inputs=[change(one) for one in batch.batches])
    return change(batch)


def _clips(batch: Batch, number: int) -> list[Tensor]:
    """Returns the views of a sample as clips (T, C, H, W), where an image has one frame."""
    views = batch.sample(number)
    if not isinstance(batch, Clips):
        return [as_clip(view[None])[0].transpose(0, 1) for view in views]
    return [view if view.ndim == 4 else view[None] for view in views]


def _denormalize(batch: Views | Clips, preprocessor: Any) -> Batch:
    if isinstance(batch, Clips):
        return batch.replace(inputs=[preprocessor.denormalize(one) for one in batch.inputs])
    # Channels are the third last axis there, and the second one of views.
    views = [view.movedim(1, -3) for view in batch.inputs]
    return batch.replace(inputs=[preprocessor.denormalize(v).movedim(-3, 1) for v in views])


def _hide_patches(batch: Views, cfg: Config) -> Batch:
    """Paints what the encoder doesn't see in training gray."""
    backbone = cfg.model.backbone
    size, tubelet_size = backbone.get('patch_size', 16), backbone.get('tubelet_size', 1)
    views = torch.stack(batch.inputs)  # (V, B, C, [T], H, W)
    clips = as_clip(views.flatten(0, 1))  # (V*B, C, T, H, W)
    num_frames, height, width = clips.shape[2:]
    grid = (max(1, num_frames // tubelet_size), height // size, width // size)
    seeds = seeds_of_views(batch.get('seeds'), len(views))
    mask = build_part(backbone.masking)(len(clips), grid, clips.device, seeds)
    visible = mask.visible.view(-1, 1, *grid)
    for dim, times in enumerate((num_frames // grid[0], size, size), start=2):
        visible = visible.repeat_interleave(times, dim)
    gray = torch.full_like(clips, 128)
    return batch.replace(inputs=list(torch.where(visible, clips, gray).view_as(views)))


def _describe(
    one: _Loaded, clips: Sequence[Tensor], visible: Sequence[Tensor] | None, labels: Any
) -> ShownSample:
    seen = one.seen
    frames, ids = seen['frames'], seen.get('frame_ids', ())
    boxes: Sequence[Box | None] = one.boxes if len(one.boxes) == len(clips) else [None] * len(clips)
    shown = []
    for number, (clip, box) in enumerate(zip(clips, boxes, strict=True)):
        count = len(clip)
        for time in np.linspace(0, count - 1, min(count, _FRAMES_SHOWN)).round().astype(int):
            # Both views of an image, or of a single frame, are made of that.
            position = min(number * count + int(time), len(frames) - 1)
            shown.append(
                ShownView(
                    frame=_decoded(frames[position]),
                    frame_id=ids[position] if len(ids) else None,
                    box=box,
                    view=_picture(clip[time]),
                    visible=None if visible is None else _picture(visible[number][time]),
                )
            )
    return ShownSample(
        place=one.place,
        path=seen['path'],
        label=_label(seen, labels),
        frame_ids=tuple(ids),
        num_clips=seen.get('num_clips', 1),
        fps=seen.get('fps', 0.0),
        views=tuple(shown),
    )


def _label(seen: dict[str, Any], labels: Any) -> str:
    """Returns the class of a sample, and its share if it is mixed with another one."""
    label = seen.get('class_name', seen['gt_label'])
    if label == NO_LABEL:
        return ''
    if labels is None or 'gt_score' not in labels:
        return str(label)
    return f'{label} {100 * float(labels.gt_score[labels.gt_label]):.0f}%'


def _decoded(frame: np.ndarray | EncodedImage) -> np.ndarray:
    return frame.decode() if isinstance(frame, EncodedImage) else frame


def _picture(pixels: Tensor) -> np.ndarray:
    """(C, H, W) -> (H, W, C)."""
    return pixels.permute(1, 2, 0).numpy()
