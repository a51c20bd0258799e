# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Measures how fast the data of a config are loaded, and lists changes that would help."""

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from mmengine.config import Config

from vicmae.apis.train_data import batches_of, build_train_loader, require_train_data, sources_of
from vicmae.errors import ConfigError

from .rate import samples_per_second
from .stages import ENOUGH_FILES, Stages, measure_stages

_SAMPLES = 100_000  # in an epoch: a small set would end before it is measured
_LARGE = 400  # pixels of the short side
_GOP = 12  # of packed videos


class Advice(NamedTuple):
    """A change, why, and how many times faster a worker would load by the stages that it shortens."""

    reason: str
    change: str
    factor: float

    def __str__(self) -> str:
        return f'{self.reason}: {self.change}, about {self.factor:.1f}x as fast'


@dataclass(frozen=True)
class SourceSpeed:
    """Measurements of one source: samples per second of all workers, and the stages of one."""

    name: str
    size: int
    rate: float
    num_workers: int  # 0 for none, which counts as one
    stages: Stages
    visits_per_opening: int = 1

    @property
    def per_worker(self) -> float:
        """Samples per second from each worker."""
        return self.rate / max(1, self.num_workers)

    @property
    def seconds(self) -> dict[str, float]:
        """Returns a worker's time by stage; the rest is transfer between processes, and waiting."""
        waiting = max(0.0, 1 / self.per_worker - self.stages.total)
        return {**self.stages.seconds, 'transfer, waiting': waiting}

    def advice(self) -> list[Advice]:
        """Lists changes that would help, the best first; none if too few files were read."""
        if self.stages.num_files < ENOUGH_FILES:
            return []
        whole = sum(self.seconds.values())
        found = []
        for reason, spent, change, saved in self._changes():
            reason = reason.format(f"{spent / whole:.0%} of a worker's time")
            found.append(Advice(reason, change, whole / (whole - saved)))
        return sorted((a for a in found if a.factor > 1.15), key=lambda advice: -advice.factor)

    def _changes(self) -> Iterator[tuple[str, float, str, float]]:
        """Yields a cause, its seconds, a change, and the seconds that the change saves."""
        stages, spent = self.stages, self.stages.seconds
        change = 'move it to the device with `on_device=True` of the views'
        yield 'colour takes {}', spent['colour'], change, spent['colour']
        pack = 'pack with `python tools/dataset_converters/pack.py ...'
        if (side := stages.short_side or 0.0) > _LARGE:
            less = 1 - (320 / side) ** 2
            reason = f'decoding takes {{}}, short sides are {side:.0f} pixels'
            yield reason, spent['decode'], f'{pack} --short-side 320`', less * spent['decode']
        if (interval := stages.key_interval) is not None:
            seek = spent['seek']
            reason = f'seeking takes {{}}, key frames lie {interval:.0f} frames apart'
            less = max(0.0, 1 - _GOP / interval)
            yield reason, seek, f'{pack} --gop {_GOP} --tune fastdecode`', less * seek
            reason = 'seeking takes {}, each frame needs those before it'
            yield reason, seek, f'{pack} --video-as jpeg --fps 5`', seek
            if self.visits_per_opening == 1:
                once = spent['find'] + spent['open']
                change = 'draw several samples from each with `visits_per_opening=4`'
                # Of the frames on the way, about half serve several samples.
                yield 'opening and seeking take {}', once + seek, change, 0.75 * once + 0.5 * seek

    def as_dict(self) -> dict[str, Any]:
        """Returns the measurements as plain values, times in milliseconds."""
        return dict(
            source=self.name,
            samples=self.size,
            samples_per_second=self.rate,
            samples_per_second_per_worker=self.per_worker,
            num_workers=self.num_workers,
            milliseconds={name: 1e3 * seconds for name, seconds in self.seconds.items()},
            floor_milliseconds=1e3 * self.stages.floor,
            frames_wanted=self.stages.wanted,
            frames_decoded=self.stages.decoded,
            key_frame_interval=self.stages.key_interval,
            bytes_read=self.stages.bytes_read,
            bytes_handed=self.stages.bytes_handed,
            advice=[advice._asdict() for advice in self.advice()],
        )

    def text(self, devices: Sequence[float]) -> str:
        """Describes the measurements; `devices` are samples per second that devices take."""
        stages, whole, cores = self.stages, sum(self.seconds.values()), len(os.sched_getaffinity(0))
        workers = f'{self.per_worker:,.0f} per worker' if self.num_workers else 'in one process'
        rows = [(name, 1e3 * t, t / whole) for name, t in self.seconds.items() if t > 0]
        needs = ', '.join(f'{n:,.0f}/s: {math.ceil(n / self.per_worker):,}' for n in devices)
        on_the_way = ''
        if stages.decoded and stages.key_interval:
            frames = f'{stages.decoded:.0f} frames are decoded for {stages.wanted:.3g}'
            on_the_way = f' {frames}, as key frames lie {stages.key_interval:.0f} apart.'
        best, *others = [str(advice) for advice in self.advice()] or [self._without_advice()]
        lines = [
            f'{self.name} ({self.size:,}): {self.rate:,.0f} samples/s, {workers}; '
            f'a worker takes {1e3 * whole:.2f} ms:',
            *(f'  {name:<18}{ms:8.2f} ms {p:5.0%}  {"#" * round(24 * p)}' for name, ms, p in rows),
            f'  Decoding what is needed alone would take {1e3 * stages.floor:.2f} ms.{on_the_way}',
            f'  A sample reads {stages.bytes_read / 1e3:,.1f} kB and hands over '
            f'{stages.bytes_handed / 1e3:,.1f} kB.',
            f'  Workers for a device that takes {needs} (here are {cores} cores).',
            f'  What would help most: {best}.',
            *(f'  Also: {advice}.' for advice in others),
        ]
        return '\n'.join(lines)

    def _without_advice(self) -> str:
        if self.stages.num_files < ENOUGH_FILES:
            return (
                f'unknown: {self.stages.num_files} files say too little ({ENOUGH_FILES} are needed)'
            )
        if self.seconds['transfer, waiting'] > 0.4 / self.per_worker:
            return 'cores, as most of the time is the way between processes and waiting for one of them'
        return 'more workers; nothing in the files or the pipeline stands out'


def source_names(cfg: Config, only: str | None = None) -> list[str]:
    """Names of the sources that a config's training data have; `only` one of them, or all."""
    require_train_data(cfg)
    sources = cfg.train_dataloader.dataset.get('sources') or {'samples': True}
    names = [name for name, source in sources.items() if source is not None]
    if only is not None and only not in names:
        raise ConfigError(f'`--source` must be one of {", ".join(names)}, got {only!r}.')
    return names if only is None else [only]


def measure_source(
    cfg: Config, name: str, num_workers: int | None, batch_size: int, seconds: float
) -> SourceSpeed:
    """Measures one source alone."""
    cfg = _endless(cfg, batch_size)
    sources = cfg.train_dataloader.dataset.get('sources') or {}
    sources.update({other: None for other in sources if other != name})
    loader = build_train_loader(cfg, num_workers=num_workers)
    rate = samples_per_second(loader, seconds)
    (source,) = sources_of(loader.dataset).values()
    keys = chain.from_iterable(batches_of(loader))
    stages = measure_stages(source, keys, loader.collate_fn, seconds / 3)
    workers, visits = loader.num_workers, source.visits_per_opening
    return SourceSpeed(name, len(source), rate, workers, stages, visits)


def measure_mixture(cfg: Config, num_workers: int | None, batch_size: int, seconds: float) -> float:
    """Samples per second of all sources together."""
    loader = build_train_loader(_endless(cfg, batch_size), num_workers=num_workers)
    return samples_per_second(loader, seconds)


def _endless(cfg: Config, batch_size: int) -> Config:
    """Returns the config with quick first batches, and an epoch longer than the measurement."""
    cfg = copy.deepcopy(cfg)
    cfg.train_dataloader.batch_size = batch_size
    if cfg.train_dataloader.sampler.type == 'MixtureSampler':
        cfg.train_dataloader.sampler.samples_per_epoch = _SAMPLES
    return cfg
