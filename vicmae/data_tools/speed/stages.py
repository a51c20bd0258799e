# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Measures the time of each stage of loading, in one process without a loader."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import Tensor

from vicmae.datasets import transforms as t
from vicmae.datasets.sample_key import SampleKey
from vicmae.datasets.sources.source import Source
from vicmae.datasets.transforms.view_change import ViewChange
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage

from ..steps import steps
from .key_frames import find_key_frames

ENOUGH_FILES = 8  # fewer say too little
_FILES_LOOKED_INTO = 5
_FRAMES_IN_A_ROW = 60
_BATCH = 32
_STAGES: dict[type, str] = {
    **dict.fromkeys((t.LoadImage, t.OpenVideo), 'open'),
    **dict.fromkeys(
        (t.OneView, t.TwoViews, t.ClipView, t.ClipViews, t.RandomResizedCrop, t.CenterCrop),
        'crop and flip',
    ),
    **dict.fromkeys((t.PackViews, t.PackImage, t.PackClip), 'pack'),
    t.DecodeFrames: 'decode',
}
_ORDER = ('find', 'open', 'seek', 'decode', 'crop and flip', 'colour', 'pack', 'all else')


@dataclass(frozen=True)
class Stages:
    """The seconds that a sample takes in a worker, by stage; None if unknown."""

    seconds: dict[str, float]  # by stage
    floor: float  # seconds of decoding what the sample needs, and nothing else
    wanted: float  # images or frames that it needs
    decoded: float | None  # with those on the way
    key_interval: float | None  # frames from one key frame to the next
    short_side: float | None  # of images, in pixels
    num_files: int  # that this was measured on
    bytes_read: float
    bytes_handed: float  # when it leaves the worker

    @property
    def total(self) -> float:
        """Returns the time of the whole sample."""
        return sum(self.seconds.values())


def measure_stages(
    source: Source,
    keys: Iterable[SampleKey],
    collate: Callable[[list[Any]], Any],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Stages:
    """Loads samples twice, first for so many seconds and from enough files, and says where the time goes.

    The second time their files are in memory: waiting for a disk isn't in it.
    """
    groups = _load_for(seconds, source, keys, clock)
    samples: list[Any] = []
    number, bytes_before = sum(map(len, groups)), _bytes_so_far()
    with _timed(source, clock) as spent:
        for group in groups:
            samples = [*samples, *source.__getitems__(group)][-_BATCH:]
    bytes_read = (_bytes_so_far() - bytes_before) / number
    times = {stage: spent[stage] / number for stage in _ORDER}
    start = clock()
    collate(samples)
    times['collate'] = (clock() - start) / len(samples)
    floor, wanted, known, side = times['decode'], 1 / source.visits_per_opening, [], None
    looked_into = groups[:_FILES_LOOKED_INTO]
    if source.kind == 'video':
        rows = [_look_into(source, group, clock) for group in looked_into]
        wanted = float(np.mean([row[0] for row in rows]))
        floor = wanted * float(np.median([row[1] for row in rows]))
        times['seek'] = max(0.0, times['decode'] - floor)
        times['decode'] -= times['seek']
        known = [row[2] for row in rows if row[2]]
    else:
        infos = [source.get_data_info(group[0].index) for group in looked_into]
        images = [EncodedImage(info.get('media', info['path']), info['path']) for info in infos]
        side = float(np.median([min(image.height, image.width) for image in images]))
    key_interval, decoded = np.mean(known, axis=0).tolist() if known else (None, None)
    num_files = len({group[0].index for group in groups})
    sizes = (num_files, bytes_read, _num_bytes(samples) / len(samples))
    return Stages(times, floor, wanted, decoded, key_interval, side, *sizes)


def _load_for(
    seconds: float, source: Source, keys: Iterable[SampleKey], clock: Callable[[], float]
) -> list[list[SampleKey]]:
    """Returns the visits that could be loaded, those to one file from one opening together."""
    groups: list[list[SampleKey]] = []
    tried, deadline = set(), clock() + seconds
    for index, visits in groupby(keys, key=lambda key: key.index):
        group = list(visits)
        tried.add(index)
        try:
            source.__getitems__(group)
            groups.append(group)
        except DataError:  # training puts another in its place
            continue
        if clock() > deadline and len(tried) >= min(ENOUGH_FILES, len(source)):
            break
    if not groups:
        raise DataError('Not one sample could be loaded: there is nothing to measure.')
    return groups


@contextmanager
def _timed(source: Source, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Times what is called by stage, without what is called by that; complete at the end."""
    spent, current, since = dict.fromkeys(_ORDER, 0.0), 'all else', clock()

    def switch(stage: str) -> str:
        nonlocal current, since
        now, before = clock(), current
        spent[before] += now - since
        current, since = stage, now
        return before

    def timed(stage: str, function: Callable) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before = switch(stage)
            try:
                return function(*args, **kwargs)
            finally:
                switch(before)

        return wrapper

    methods: list[tuple[type, str, str]] = [
        (type(source), 'get_data_info', 'find'),
        (EncodedImage, 'decode', 'decode'),
    ]
    for cls, stage in _STAGES.items():
        together = hasattr(cls, 'transform_together')
        methods.append((cls, 'transform_together' if together else 'transform', stage))
    for change in ViewChange.__subclasses__():
        methods.append((change, 'apply', 'crop and flip' if change is t.RandomFlip else 'colour'))
    with ExitStack() as stack:
        for cls, name, stage in methods:
            stack.enter_context(patch.object(cls, name, timed(stage, getattr(cls, name))))
        since = clock()
        yield spent
        switch('all else')


def _look_into(
    source: Source, group: list[SampleKey], clock: Callable[[], float]
) -> tuple[float, float, tuple[float, float] | None]:
    """Frames that a sample of a video needs, seconds of one in a row, key interval and frames that are decoded."""
    visits = next(made for _, made in steps(source, group) if 'frame_ids' in made[0])
    ids = sorted({frame for visit in visits for frame in visit['frame_ids']})
    times = []
    with visits[0]['reader'] as reader:
        row = range(min(reader.num_frames, _FRAMES_IN_A_ROW))
        for _ in range(3):  # nothing makes decoding faster than it is
            start = clock()
            reader.frames(row)
            times.append((clock() - start) / len(row))
    keys = find_key_frames(visits[0].get('media', visits[0]['path']), ids)
    return len(ids) / len(group), min(times), keys and (keys[0], keys[1] / len(group))


def _bytes_so_far() -> int:
    """Returns the bytes that this process has read from files so far, also from the cache of the system."""
    with open('/proc/self/io', encoding='ascii') as file:
        return int(file.readline().removeprefix('rchar:'))


def _num_bytes(sample: Any) -> int:
    if isinstance(sample, Tensor):
        return sample.nbytes
    parts = sample.values() if isinstance(sample, dict) else sample
    return sum(map(_num_bytes, parts)) if isinstance(sample, dict | list | tuple) else 0
