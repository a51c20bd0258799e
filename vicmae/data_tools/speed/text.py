# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The speed of a loader as text."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .stages import ENOUGH_FILES, Stages
from .trials import Advice

_BAR = 24
_MUCH = 0.4  # of a sample's time


@dataclass(frozen=True)
class SourceSpeed:
    """What was measured of a source alone.

    Attributes:
        name: Of the source.
        size: Number of its samples.
        rate: Samples per second from all workers.
        num_workers: How many there were; 0 for none, which counts as one.
        stages: Where a worker's time goes.
        advice: What would help, the best first.
    """

    name: str
    size: int
    rate: float
    num_workers: int
    stages: Stages
    advice: Sequence[Advice]

    @property
    def per_worker(self) -> float:
        """Samples per second from each worker."""
        return self.rate / max(1, self.num_workers)

    @property
    def waiting(self) -> float:
        """Seconds of a sample that loading it doesn't account for: the way between processes, waiting, the disk."""
        return max(0.0, 1 / self.per_worker - self.stages.total)

    @property
    def whole(self) -> float:
        """A worker's time for a sample, which stages and waiting add up to.

        Stages are measured apart from the rate. Where they take longer than the rate leaves time for, it is theirs.
        """
        return self.stages.total + self.waiting

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values, times in milliseconds."""
        milliseconds = {name: 1e3 * seconds for name, seconds in self._spent.items()}
        return dict(
            source=self.name,
            samples=self.size,
            samples_per_second=self.rate,
            samples_per_second_per_worker=self.per_worker,
            num_workers=self.num_workers,
            milliseconds=milliseconds,
            floor_milliseconds=1e3 * self.stages.floor,
            frames_wanted=self.stages.wanted,
            frames_decoded=self.stages.decoded,
            key_frame_interval=self.stages.key_interval,
            bytes_read=self.stages.bytes_read,
            bytes_handed=self.stages.bytes_handed,
            advice=[advice._asdict() for advice in self.advice],
        )

    @property
    def _spent(self) -> dict[str, float]:
        return {**self.stages.seconds, 'transfer, waiting': self.waiting}


def speed_text(speed: SourceSpeed, wanted: Sequence[float]) -> str:
    """A paragraph on a source.

    Args:
        speed: What was measured.
        wanted: Samples per second that devices take.
    """
    workers = 'in one process' if not speed.num_workers else f'{speed.per_worker:,.0f} per worker'
    lines = [
        f'{speed.name} ({speed.size:,}): {speed.rate:,.0f} samples/s, {workers}; '
        f'{1e3 / speed.per_worker:.2f} ms of a worker each{_measured_apart(speed)}:',
        *_stage_lines(speed),
        _floor_line(speed.stages, speed.whole),
        _bytes_line(speed.stages),
        _workers_line(speed.per_worker, wanted),
    ]
    best = speed.advice[0] if speed.advice else _without_advice(speed)
    lines.append(f'  What would help most: {best}.')
    lines += [f'  Also: {advice}.' for advice in speed.advice[1:]]
    return '\n'.join(lines)


def busy_text() -> str:
    """A warning where other programs take the cores, else nothing."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < cores / 2:
        return ''
    return f'This machine is busy already (load {load:.1f} on {cores} cores): figures are lower than they could be.'


def _measured_apart(speed: SourceSpeed) -> str:
    """Says so where the stages, which are measured in a process of their own, don't fit into the rate."""
    if speed.stages.total <= 1 / speed.per_worker:
        return ''
    return f'. Measured apart, loading one takes {1e3 * speed.whole:.2f} ms'


def _without_advice(speed: SourceSpeed) -> str:
    if speed.stages.num_files < ENOUGH_FILES:
        return (
            f'not tried, as {speed.stages.num_files} files that can be read tell too little '
            f'({ENOUGH_FILES} are needed)'
        )
    if speed.waiting > _MUCH / speed.per_worker:
        return 'cores, as most of the time is the way between processes and waiting for one of them'
    return 'more workers; nothing in the files or the pipeline stands out'


def _stage_lines(speed: SourceSpeed) -> Iterator[str]:
    spent = {name: t for name, t in speed._spent.items() if t > 0}
    for name, seconds in spent.items():
        share = seconds / speed.whole
        yield f'  {name:<18}{1e3 * seconds:8.2f} ms {share:5.0%}  {"#" * round(_BAR * share)}'


def _floor_line(stages: Stages, seconds: float) -> str:
    what = f'{stages.wanted:.3g} frames' if stages.wanted > 1 else 'it'
    line = (
        f'  Floor: decoding {what} alone takes {1e3 * stages.floor:.2f} ms, '
        f"{stages.floor / seconds:.0%} of a worker's time."
    )
    if stages.decoded and stages.key_interval:
        line += (
            f' {stages.decoded:.0f} frames are decoded on the way, as key frames lie '
            f'{stages.key_interval:.0f} apart.'
        )
    return line


def _bytes_line(stages: Stages) -> str:
    return f'  A sample reads {_bytes(stages.bytes_read)} and hands over {_bytes(stages.bytes_handed)}.'


def _bytes(number: float) -> str:
    return f'{number / 1e6:.2f} MB' if number >= 1e6 else f'{number / 1e3:.1f} kB'


def _workers_line(per_worker: float, wanted: Sequence[float]) -> str:
    needs = ', '.join(f'{speed:,.0f}/s: {math.ceil(speed / per_worker):,}' for speed in wanted)
    cores = len(os.sched_getaffinity(0))
    return f'  Workers for a device that takes {needs} (here are {cores} cores).'
