# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the time of a sample goes: measured in one process, without a loader around it."""

import cProfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from torch import Tensor

from vicmae.datasets.sample_key import SampleKey
from vicmae.datasets.sources.source import Source
from vicmae.datasets.transforms import PackViews, RandomFlip
from vicmae.datasets.transforms.crop import crop_and_resize
from vicmae.datasets.transforms.view_change import ViewChange
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import VideoReader, open_video

from ..steps import steps
from .key_frames import find_key_frames

ENOUGH_FILES = 8  # from fewer no ratio is told
_FILES_LOOKED_INTO = 5
_FRAMES_IN_A_ROW = 60
_BATCH = 32

Group = list[SampleKey]  # visits to one file from one opening
Clock = Callable[[], float]  # seconds since some time


@dataclass(frozen=True)
class Stages:
    """What a sample costs a worker.

    Attributes:
        seconds: Time of each stage by name, in their order.
        floor: Time that decoding takes of what the sample needs, and of nothing else.
        wanted: How many images or frames it needs.
        decoded: How many are decoded for it, with those on the way; None where that isn't known.
        key_interval: Frames from one key frame to the next; None where that isn't known.
        num_files: How many files this was measured on.
        bytes_read: What is read from files for it, also where the system has them in memory.
        bytes_handed: Size of the sample when it leaves the worker.
    """

    seconds: dict[str, float]
    floor: float
    wanted: float
    decoded: float | None
    key_interval: float | None
    num_files: int
    bytes_read: float
    bytes_handed: float

    @property
    def total(self) -> float:
        """Time of the whole sample."""
        return sum(self.seconds.values())


def load_for(
    seconds: float,
    source: Source,
    keys: Iterable[SampleKey],
    clock: Clock = time.perf_counter,
) -> tuple[list[Group], list[Any]]:
    """Loads until time is up, and enough files to tell a ratio from; that also brings them into memory.

    Args:
        seconds: For how long.
        source: Where samples come from.
        keys: Visits in the order of training; those to one sample that follow each other share an opening.
        clock: Tells the time.

    Returns:
        The visits that could be loaded, and the last samples.
    """
    groups: list[Group] = []
    samples: list[Any] = []
    tried: set[int] = set()
    deadline = clock() + seconds
    for index, visits in groupby(keys, key=lambda key: key.index):
        group = list(visits)
        tried.add(index)
        try:
            loaded = source.__getitems__(group)
        except DataError:  # training puts another in its place
            continue
        groups.append(group)
        samples = [*samples, *loaded][-_BATCH:]
        if clock() > deadline and len(tried) >= min(ENOUGH_FILES, len(source)):
            break
    if not groups:
        raise DataError('Not one sample could be loaded: there is nothing to measure.')
    return groups, samples


def measure_stages(
    source: Source,
    groups: Sequence[Group],
    samples: list[Any],
    collate: Callable[[list[Any]], Any],
    clock: Clock = time.perf_counter,
) -> Stages:
    """Loads samples again and says where their time goes. Waiting for a disk is not in it.

    Args:
        source: Where they come from.
        groups: Visits that can be loaded.
        samples: Some that were.
        collate: Makes a batch of samples.
        clock: Tells the time.
    """
    looked_into = _look_into(source, groups, clock)
    profile = cProfile.Profile(clock)
    profile.runcall(time_of, source, groups)
    bytes_before = _bytes_so_far()
    total = time_of(source, groups, clock)
    bytes_read = _bytes_so_far() - bytes_before
    number = sum(map(len, groups))
    functions = _functions(source, looked_into)
    named = {n: t / number for n, t in _split(profile, functions, total * number).items()}
    floor = named['decode'] if looked_into is None else looked_into.floor
    if looked_into is not None:
        named = _split_seek(named, floor)
    named['collate'] = _time_of_collating(collate, samples, clock)
    return Stages(
        seconds=named,
        floor=floor,
        wanted=looked_into.wanted if looked_into else 1 / source.visits_per_opening,
        decoded=looked_into.decoded if looked_into else None,
        key_interval=looked_into.key_interval if looked_into else None,
        num_files=len({group[0].index for group in groups}),
        bytes_read=bytes_read / number,
        bytes_handed=sum(map(_num_bytes, samples)) / len(samples),
    )


def time_of(source: Source, groups: Iterable[Group], clock: Clock = time.perf_counter) -> float:
    """Seconds that a sample takes, when visits to these files are loaded one group after the other."""
    begun, number = clock(), 0
    for group in groups:
        number += len(source.__getitems__(group))
    return (clock() - begun) / number


def _functions(source: Source, videos: '_Videos | None') -> dict[str, list[Any]]:
    """The functions of each stage. None of them calls another one."""
    colours = [change.apply for change in _subclasses(ViewChange) if change is not RandomFlip]
    opening: list[Any] = [EncodedImage.__init__]
    decoding: list[Any] = [EncodedImage.decode]
    if videos is not None:
        opening = [open_video, *(reader.close for reader in videos.readers)]
        decoding = [reader.frames for reader in videos.readers]
    return {
        'find': [type(source).get_data_info],
        'open': opening,
        'decode': decoding,
        'crop and flip': [crop_and_resize, RandomFlip.apply],
        'colour': colours,
        'pack': [PackViews.transform],
    }


def _split(
    profile: cProfile.Profile, functions: dict[str, list[Any]], total: float
) -> dict[str, float]:
    """Adds up what the functions of each stage took of so many seconds in all."""
    spent = {entry.code: entry.totaltime for entry in profile.getstats()}
    # A subclass may have a function of its parent's, which counts once.
    codes = {name: {f.__code__ for f in those} for name, those in functions.items()}
    named = {name: sum(spent.get(code, 0.0) for code in those) for name, those in codes.items()}
    # Counting takes time too, most of it outside of these functions, which call few others.
    shrink = min(1.0, total / sum(named.values()))
    named = {name: seconds * shrink for name, seconds in named.items()}
    return {**named, 'all else': max(0.0, total - sum(named.values()))}


def _subclasses(cls: type) -> list[Any]:
    below: list[Any] = cls.__subclasses__()
    return [one for sub in below for one in [sub, *_subclasses(sub)]]


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
@dataclass(frozen=True)
class _Videos:
    """What some of the videos are like.

    Attributes:
        readers: What reads them.
        wanted: How many frames a sample needs.
        floor: Seconds that these take, decoded in a row.
        decoded: How many are decoded for them; None where that isn't known.
        key_interval: Frames from one key frame to the next; None where that isn't known.
    """

    readers: set[Any]
    wanted: float
    floor: float
    decoded: float | None
    key_interval: float | None


def _look_into(source: Source, groups: Sequence[Group], clock: Clock) -> _Videos | None:
    """Looks into some of the videos; None for images."""
    if source.kind != 'video':
        return None
    readers, wanted, times, key_frames = set(), [], [], []
    for group in groups[:_FILES_LOOKED_INTO]:
        visits = next(made for _, made in steps(source, group) if 'frame_ids' in made[0])
        ids = sorted({frame for visit in visits for frame in visit['frame_ids']})
        wanted.append(len(ids) / len(group))
        with visits[0]['reader'] as reader:
            readers.add(type(reader))
            times.append(_time_in_a_row(reader, clock))
        found = find_key_frames(visits[0].get('media', visits[0]['path']), ids, len(group))
        key_frames += [found] if found else []
    return _Videos(
        readers,
        wanted=float(np.mean(wanted)),
        floor=float(np.mean(wanted) * np.median(times)),
        decoded=_mean(k.decoded for k in key_frames),
        key_interval=_mean(k.interval for k in key_frames),
    )


def _time_in_a_row(reader: VideoReader, clock: Clock) -> float:
    """Seconds for each of the first frames; the best of three times, as nothing makes decoding faster than it is."""
    count = min(reader.num_frames, _FRAMES_IN_A_ROW)
    times = []
    for _ in range(3):
        begun = clock()
        reader.frames(range(count))
        times.append(clock() - begun)
    return min(times) / count


def _bytes_so_far() -> int:
    """What this process has read from files so far, those that the system had in memory included."""
    with open('/proc/self/io', encoding='ascii') as file:
        return int(file.readline().removeprefix('rchar:'))


# ------------------------------------------------------------------------- batches
def _time_of_collating(
    collate: Callable[[list[Any]], Any], samples: list[Any], clock: Clock
) -> float:
    begun = clock()
    collate(samples)
    return (clock() - begun) / len(samples)


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
