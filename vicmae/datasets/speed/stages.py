# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the time of a sample goes: measured in one process, without a loader around it."""

import cProfile
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from torch import Tensor

from vicmae.errors import DataError

from ..image_io import EncodedImage
from ..sample_key import SampleKey
from ..source import Source
from ..steps import steps
from ..transforms import PackViews, RandomFlip
from ..transforms.crop import crop_and_resize
from ..transforms.view_change import ViewChange
from ..video_io import VideoReader, open_video
from .key_frames import KeyFrames, find_key_frames

_FILES_LOOKED_INTO = 5
_FRAMES_IN_A_ROW = 60
_BATCH = 32

Group = list[SampleKey]  # visits to one file from one opening


@dataclass(frozen=True)
class Stages:
    """What a sample costs a worker.

    Attributes:
        seconds: Time of each stage by name, in their order.
        floor: Time that decoding takes of what the sample needs, and of nothing else.
        wanted: How many images or frames it needs.
        decoded: How many are decoded for it, with those on the way; None where that isn't known.
        key_interval: Frames from one key frame to the next; None where that isn't known.
        bytes_read: Encoded size of its file, which the visits of one opening share; None where that isn't known.
        bytes_handed: Size of the sample when it leaves the worker.
    """

    seconds: dict[str, float]
    floor: float
    wanted: float
    decoded: float | None
    key_interval: float | None
    bytes_read: float | None
    bytes_handed: float

    @property
    def total(self) -> float:
        """Time of the whole sample."""
        return sum(self.seconds.values())


def load_for(
    seconds: float, source: Source, keys: Iterable[SampleKey]
) -> tuple[list[Group], list[Any]]:
    """Loads until time is up, which also brings the files into memory.

    Args:
        seconds: For how long.
        source: Where samples come from.
        keys: Visits in the order of training; those to one sample that follow each other share an opening.

    Returns:
        The visits that could be loaded, and the last samples.
    """
    groups: list[Group] = []
    samples: list[Any] = []
    deadline = time.perf_counter() + seconds
    for _, visits in groupby(keys, key=lambda key: key.index):
        group = list(visits)
        try:
            loaded = source.__getitems__(group)
        except DataError:  # training puts another in its place
            continue
        groups.append(group)
        samples = [*samples, *loaded][-_BATCH:]
        if time.perf_counter() > deadline:
            break
    if not groups:
        raise DataError('Not one sample could be loaded: there is nothing to measure.')
    return groups, samples


def measure_stages(
    source: Source,
    groups: Sequence[Group],
    samples: list[Any],
    collate: Callable[[list[Any]], Any],
) -> Stages:
    """Loads samples again and says where their time goes. Waiting for a disk is not in it.

    Args:
        source: Where they come from.
        groups: Visits that can be loaded.
        samples: Some that were.
        collate: Makes a batch of samples.
    """
    profile = cProfile.Profile()
    profile.runcall(time_of, source, groups)
    total = time_of(source, groups)
    number = sum(map(len, groups))
    named = {n: t / number for n, t in _stages_of(source, profile, total * number).items()}
    wanted, per_frame, key_frames = _look_into(source, groups)
    floor = wanted * per_frame if source.kind == 'video' else named['decode']
    if source.kind == 'video':
        named = _split_seek(named, floor)
    named['collate'] = _time_of_collating(collate, samples)
    return Stages(
        seconds=named,
        floor=floor,
        wanted=wanted,
        decoded=_mean(k.decoded for k in key_frames),
        key_interval=_mean(k.interval for k in key_frames),
        bytes_read=_bytes_read(source, groups),
        bytes_handed=sum(map(_num_bytes, samples)) / len(samples),
    )


def time_of(source: Source, groups: Iterable[Group]) -> float:
    """Seconds that a sample takes, when visits to these files are loaded one group after the other."""
    begun, number = time.perf_counter(), 0
    for group in groups:
        number += len(source.__getitems__(group))
    return (time.perf_counter() - begun) / number


def _stages_of(source: Source, profile: cProfile.Profile, total: float) -> dict[str, float]:
    """Adds up what the functions of each stage took; none of them calls another one. Shares of `total` seconds."""
    is_video = source.kind == 'video'
    decoders = [reader.frames for reader in _subclasses(VideoReader)]
    closers = [reader.close for reader in _subclasses(VideoReader)]
    colours = [change.apply for change in _subclasses(ViewChange) if change is not RandomFlip]
    functions: dict[str, list[Any]] = {
        'find': [type(source).get_data_info],
        'open': [open_video, *closers] if is_video else [EncodedImage.__init__],
        'decode': decoders if is_video else [EncodedImage.decode],
        'crop and flip': [crop_and_resize, RandomFlip.apply],
        'colour': colours,
        'pack': [PackViews.transform],
    }
    spent = {entry.code: entry.totaltime for entry in profile.getstats()}
    # A subclass may have a function of its parent's, which counts once.
    codes = {name: {f.__code__ for f in those} for name, those in functions.items()}
    named = {name: sum(spent.get(code, 0.0) for code in those) for name, those in codes.items()}
    # Counting takes time too, most of it outside of these functions, which call few others.
    shrink = min(1.0, total / sum(named.values()))
    named = {name: seconds * shrink for name, seconds in named.items()}
    return {**named, 'all else': max(0.0, total - sum(named.values()))}


def _subclasses(cls: type) -> list[Any]:
    return [one for sub in cls.__subclasses__() for one in [sub, *_subclasses(sub)]]


def _split_seek(named: dict[str, float], floor: float) -> dict[str, float]:
    """Parts the decoding of the frames that are wanted from that of the frames on the way to them."""
    split: dict[str, float] = {}
    for name, seconds in named.items():
        if name == 'decode':
            split['seek'] = max(0.0, seconds - floor)
            split['decode'] = min(seconds, floor)
        else:
            split[name] = seconds
    return split


# ------------------------------------------------------------------------- what the files are like
def _look_into(source: Source, groups: Sequence[Group]) -> tuple[float, float, list[KeyFrames]]:
    """How many frames a sample needs, how long one takes when a video is decoded in order, and key frames."""
    if source.kind != 'video':
        return 1.0 / source.visits_per_opening, 0.0, []
    wanted, times, key_frames = [], [], []
    for group in groups[:_FILES_LOOKED_INTO]:
        for _, visits in steps(source, group):
            if 'frame_ids' in visits[0]:
                ids = sorted({frame for visit in visits for frame in visit['frame_ids']})
                break
        wanted.append(len(ids) / len(group))
        with visits[0]['reader'] as reader:
            times.append(_time_in_a_row(reader))
        found = find_key_frames(visits[0].get('media', visits[0]['path']), ids, len(group))
        key_frames += [found] if found else []
    return float(np.mean(wanted)), float(np.median(times)), key_frames


def _time_in_a_row(reader: VideoReader) -> float:
    count = min(reader.num_frames, _FRAMES_IN_A_ROW)
    begun = time.perf_counter()
    reader.frames(range(count))
    return (time.perf_counter() - begun) / count


def _bytes_read(source: Source, groups: Sequence[Group]) -> float | None:
    sizes = []
    for group in groups:
        known = source.get_data_info(group[0].index)
        media = known.get('media', known['path'])
        if isinstance(media, bytes):
            sizes.append(len(media) / len(group))
        elif isinstance(media, str) and os.path.isfile(media):
            sizes.append(2*os.path.getsize(media) / len(group))
    return _mean(sizes)


# ------------------------------------------------------------------------- batches
def _time_of_collating(collate: Callable[[list[Any]], Any], samples: list[Any]) -> float:
    begun = time.perf_counter()
    collate(samples)
    return (time.perf_counter() - begun) / len(samples)


def _num_bytes(sample: Any) -> int:
    """Bytes of the tensors in a sample."""
    if isinstance(sample, Tensor):
        return sample.nbytes
    if isinstance(sample, dict):
        return sum(map(_num_bytes, sample.values()))
    return sum(map(_num_bytes, sample)) if isinstance(sample, list | tuple) else 0


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.mean(known)) if known else None
