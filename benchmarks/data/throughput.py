#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Samples per second of the usual pipelines and of ours, in one run: the table of benchmarks/data/README.md.

Each side is a whole loader: it opens, decodes, cuts two views, collates and hands batches over from its workers.
The sides take turns, so that each round gives ratios of what was measured within the same minute.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import naive
import numpy as np
import torch
from mmengine.registry import init_default_scope
from stand_ins import make_clips, make_pictures
from torch.utils.data import DataLoader, default_collate

from vicmae.data_tools.packing.pack import Packing
from vicmae.data_tools.packing.recoding import Recipe, VideosAsJpeg, VideosAsMp4
from vicmae.data_tools.speed.rate import samples_per_second
from vicmae.data_tools.speed.stages import Stages, measure_stages
from vicmae.datasets import ImageFolder, MixtureSampler, VideoFolder
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sources.shard_source import VideoShards
from vicmae.datasets.sources.source import Source
from vicmae.demo.data import make_demo_data

REAL = Path(__file__).parents[2] / '../shared/data/real_mini'
SAMPLES = 100_000  # in an epoch, which no round gets through

CHANGES = [
    dict(type='RandomFlip'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='RandomGrayscale', prob=0.2),
    dict(type='GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
]
VIEWS = [
    dict(
        type='TwoViews',
        on_device=True,
        transforms=[dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0)), *CHANGES],
    ),
    dict(type='PackViews'),
]
FRAME_PAIRS = [
    dict(type='OpenVideo'),
    dict(type='DistantFramePair', window_seconds=naive.WINDOW / 30),
    dict(type='DecodeFrames'),
    *VIEWS,
]
PICTURES = [dict(type='LoadImage', lazy=True), *VIEWS]
TOGETHER = ', 4 pairs an opening'
OURS = (
    'mp4',
    f'mp4{TOGETHER}',
    'packed mp4',
    f'packed mp4{TOGETHER}',
    'JPEG frames in shards',
    'images, JPEG',
)


@dataclass
class Side:
    """A loader that takes part.

    Attributes:
        name: What it is.
        build: Makes the loader.
        against: Name of the side that it is compared with; empty for those others are compared with.
        target: How many times faster it is meant to be.
        source: Where its samples come from; None for the usual pipelines.
    """

    name: str
    build: Callable[[], DataLoader]
    against: str = ''
    target: float | None = None
    source: Source | None = None


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--videos', type=Path, help='folder of .mp4 files to take as they are')
    parser.add_argument('--images', type=Path, help='folder of .jpg files to take as they are')
    parser.add_argument('--data', type=Path, help='folder to make data in and keep them')
    parser.add_argument('--clips', type=int, default=16, help='clips to make (%(default)s)')
    parser.add_argument('--pictures', type=int, default=500, help='pictures to make (%(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each side (%(default)s)')
    parser.add_argument('--seconds', type=float, default=8, help='of a turn (%(default)s)')
    parser.add_argument('--num-workers', type=int, default=2, help='of each side (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='of each side (%(default)s)')
    parser.add_argument('--only', default='', help='sides of ours with this text in their names')
    parser.add_argument('--out', type=Path, help='file for the table, besides the terminal')
    return parser.parse_args()


def main() -> None:
    """Measures, and prints the table."""
    args = parse_args()
    init_default_scope('vicmae')
    torch.set_num_threads(1)
    with nullcontext(args.data) if args.data else tempfile.TemporaryDirectory() as folder:
        videos, images = prepare(Path(folder), args)
        sides = list(make_sides(videos, images, Path(folder), args))
        rates = take_turns(sides, args)
        floors = {side.name: floor_of(side.source) for side in sides if side.source}
    text = table(sides, rates, floors, args)
    print(text)
    if args.out:
        args.out.write_text(text + '\n', encoding='utf-8')


# ------------------------------------------------------------------------- data
def prepare(folder: Path, args: argparse.Namespace) -> tuple[Path, Path]:
    """The folders of videos and images: those given, or made here."""
    real = REAL if REAL.is_dir() else None
    if real is None and not (args.videos and args.images):
        real = make_demo_data(folder / 'demo')
    videos, images = args.videos, args.images
    if videos is None:
        videos = folder / 'clips'
        if not videos.is_dir():
            print(f'Making {args.clips} clips.', file=sys.stderr)
            make_clips(real / 'videos', videos, args.clips)
    if images is None:
        images = folder / 'pictures'
        if not images.is_dir():
            make_pictures(real / 'images', images, args.pictures)
    return videos, images


def pack(videos: Path, folder: Path, recipe: Recipe) -> str:
    """Packs the videos into shards."""
    print(f'Packing with {recipe}.', file=sys.stderr)
    Packing(VideoFolder(str(videos)), recipe).run(folder)
    return str(folder)


# ------------------------------------------------------------------------- sides
def make_sides(
    videos: Path, images: Path, folder: Path, args: argparse.Namespace
) -> Iterator[Side]:
    """All sides that were asked for."""
    pairs, views = 'decord on mp4 + PIL', 'mmpretrain on JPEG'

    def ours(name: str) -> tuple[Source, str, float | None]:
        """A source of ours by name, the usual side, and how many times faster it is meant to be."""
        visits = 4 if name.endswith(TOGETHER) else 1
        options = dict(pipeline=FRAME_PAIRS, visits_per_opening=visits)
        if name.startswith('mp4'):
            return VideoFolder(str(videos), **options), pairs, 2.5 if visits > 1 else None
        if name.startswith('packed mp4'):
            packed = pack(videos, folder / 'packed-mp4', VideosAsMp4())
            return VideoShards(packed, **options), pairs, 15 if visits == 1 else None
        if name.startswith('JPEG frames'):
            packed = pack(videos, folder / 'packed-jpeg', VideosAsJpeg())
            return VideoShards(packed, **options), pairs, 60
        return ImageFolder(str(images), pipeline=PICTURES), views, 3

    chosen = {name: ours(name) for name in OURS if args.only in name}
    usual = {pairs: naive.FramePairs, views: naive.mmpretrain_views}
    options = dict(batch_size=args.batch_size, num_workers=args.num_workers)
    for name in dict.fromkeys(against for _, against, _ in chosen.values()):
        data = usual[name](videos if name == pairs else images)
        yield Side(name, lambda d=data: naive.naive_loader(d, samples=SAMPLES, **options))
    for name, (source, against, target) in chosen.items():
        yield Side(name, lambda s=source: our_loader(s, **options), against, target, source)


def our_loader(source: Source, **options: Any) -> DataLoader:
    """The loader of training."""
    sampler = MixtureSampler(source, seed=0, samples_per_epoch=SAMPLES)
    return SteadyLoader(
        source, sampler=sampler, collate_fn=default_collate, drop_last=True, **options
    )


def take_turns(sides: list[Side], args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Measures each side once a round: samples per second, by side."""
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for turn in range(args.rounds + 1):
        for side in sides:
            # Turn 0 only brings files and libraries into memory. New workers start in each turn.
            seconds = args.seconds if turn else min(2.0, args.seconds)
            rate = samples_per_second(side.build(), seconds)
            if turn:
                rates[side.name].append(rate)
                print(f'{turn}/{args.rounds} {side.name}: {rate:.1f}/s', file=sys.stderr)
    return {name: np.array(values) for name, values in rates.items()}


def floor_of(source: Source) -> Stages:
    """What decoding alone would take."""
    keys = islice(MixtureSampler(source, seed=0, samples_per_epoch=SAMPLES), 2000)
    return measure_stages(source, keys, default_collate, 3.0)


# ------------------------------------------------------------------------- the table
def table(
    sides: list[Side],
    rates: dict[str, np.ndarray],
    floors: dict[str, Stages],
    args: argparse.Namespace,
) -> str:
    """The result as Markdown."""
    lines = [
        '| side | samples/s | times the usual | target | decoding alone | that is | read | handed over |',
        '|---|--:|--:|--:|--:|--:|--:|--:|',
    ]
    for side in sides:
        rate = rates[side.name]
        cells = [side.name, _spread(rate, '.1f'), '', '', '', '', '', '']
        if side.against:
            cells[2] = _spread(rate / rates[side.against], '.1f') + ' x'
            cells[3] = f'{side.target:g} x' if side.target else ''
            cells[4:] = _floor_cells(floors[side.name], float(np.median(rate)) / args.num_workers)
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join([*lines, '', *_circumstances(args)])


def _spread(values: np.ndarray, form: str) -> str:
    """The median, and between what the values lie."""
    return f'{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})'


def _floor_cells(stages: Stages, per_worker: float) -> list[str]:
    """Decoding of all frames that have to be decoded, what share of a worker's time that is, and bytes."""
    frames = stages.decoded or stages.wanted
    floor = stages.floor * frames / stages.wanted
    what = f'{frames:.1f} x {1e3 * stages.floor / stages.wanted:.2f} ms'
    sizes = [f'{size / 1e3:.0f} kB' for size in (stages.bytes_read, stages.bytes_handed)]
    return [what, f'{floor * per_worker:.0%}', *sizes]


def _circumstances(args: argparse.Namespace) -> Iterator[str]:
    packages = ('torch', 'torchvision', 'decord', 'torchcodec', 'av', 'pillow', 'opencv-python')
    versions = ', '.join(f'{name} {version(name)}' for name in (*packages, 'onedl-mmpretrain'))
    yield (
        f'Medians of {args.rounds} rounds of {args.seconds:g} s (in brackets the least and the most; ratios are those '
        f'of each round), {args.num_workers} workers, batches of {args.batch_size}.'
    )
    cores = f'{_processor()}, {len(os.sched_getaffinity(0))} cores'
    yield f'{cores}, {platform.system()}, Python {platform.python_version()}, {versions}.'
    yield f'{date.today()}: `{shlex.join(["python", *sys.argv])}`'


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


if __name__ == '__main__':
    main()
