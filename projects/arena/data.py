# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packs the data of the arena: shards, and arrays of pixels for scoring.

A fifth of `train` is `dev`, by group: no group is in both `fit` and `dev`. The search trains on `fit` and is scored on
`dev`; the runs of the tables train on both, and are scored on `val`, or on folds of all labelled clips.
"""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SETS = ('images', 'ut', 'skate', 'utdd', 'utdc')
SPLITS = ('fit', 'dev', 'val')
SHORT_SIDE, SIZE, NUM_FRAMES, FPS, QUALITY = 72, 48, 8, 10, 95
_READ_CLIP = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames', num_frames=NUM_FRAMES),
    dict(type='DecodeFrames'),
]
_DEV_SHARE = 0.2
_FOLDS_OF_SKATE = 5
ROOT = Path(__file__).resolve().parents[2]
PACKED = ROOT / 'data/arena'


@dataclass(frozen=True)
class Sample:
    """A line of a `splits.csv`."""

    path: str  # below the folder of the data
    set: str
    label: str
    split: str  # fit, dev, val or unlabelled
    group: str


@dataclass(frozen=True)
class LabelledSet:
    """All labelled samples of a set, in the order of their paths.

    Attributes:
        pixels: Images (S, C, H, W) or clips (S, T, C, H, W), uint8.
        labels: Numbers of the classes (S,).
        splits: fit, dev or val (S,).
        groups: Samples of one group are similar, such as those of one person (S,).
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    groups: NDArray[np.str_]

    def parts(self, *, search: bool) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Returns masks of (bank, queries), (S,) each: in the search one pair, else one for each fold.

        Images have one fold, from train to val. Those of videos leave out one person (utdd, utdc), one sequence (ut),
        or a fifth of the looks (skate), so that each clip is a query once.
        """
        if search:
            return [(self.splits == 'fit', self.splits == 'dev')]
        if self.name == 'images':
            return [(self.splits != 'val', self.splits == 'val')]
        folds = self.groups
        if self.name == 'skate':
            folds = np.array([str(_hash(group) % _FOLDS_OF_SKATE) for group in self.groups])
        return [(folds != fold, folds == fold) for fold in np.unique(folds)]


def read_samples(data: Path) -> list[Sample]:
    """Reads the lists of real_mini and motion_mini, sorted by path."""
    lines = []
    for folder in ('real_mini', 'motion_mini'):
        file = data / folder / 'splits.csv'
        if not file.is_file():
            raise SystemExit(
                f'error: no file {str(file)!r}. `--data DIR` names the folder with real_mini and motion_mini.'
            )
        with open(file, newline='', encoding='utf-8') as text:
            lines += [{**line, 'path': f'{folder}/{line["path"]}'} for line in csv.DictReader(text)]
    sets: dict[str, list[dict[str, str]]] = {}
    for line in sorted(lines, key=lambda line: line['path']):
        images = '/images/' in line['path']
        name = 'images' if images else line['class'].split('_')[0] or 'unlabelled'
        sets.setdefault(name, []).append(line)
    samples = []
    for name, own in sets.items():
        dev = _dev_groups([line for line in own if line['split'] == 'train'])
        for line in own:
            split = line['split']
            if split == 'train':
                split = 'dev' if line['group'] in dev else 'fit'
            samples.append(Sample(line['path'], name, line['class'], split, line['group']))
    return samples


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'big')


def _dev_groups(lines: list[dict[str, str]]) -> set[str]:
    """Chooses groups with about a fifth of the samples of a set, in the order of their hashes."""
    sizes = Counter(line['group'] for line in lines)
    limit = max(_DEV_SHARE * len(lines), min(sizes.values(), default=0))
    chosen: set[str] = set()
    for group in sorted(sizes, key=_hash):
        if sum(sizes[name] for name in chosen) + sizes[group] <= limit:
            chosen.add(group)
    return chosen


def prepare(data: Path) -> None:
    """Packs shards, and arrays of the labelled samples, unless they are there. Packed ones don't need `data`."""
    done = PACKED / 'done.json'
    if done.exists() and not (data / 'real_mini').is_dir():
        print(f'No data at {str(data)!r}: taking those in {str(PACKED.relative_to(ROOT))!r}.')
        return
    samples = read_samples(data)
    made_of = (samples, SHORT_SIDE, SIZE, NUM_FRAMES, FPS, QUALITY)
    stamp = hashlib.sha256(repr(made_of).encode()).hexdigest()
    if done.exists() and json.loads(done.read_text()) == stamp:
        return
    shutil.rmtree(PACKED, ignore_errors=True)
    PACKED.mkdir(parents=True)
    for name in (*SETS, 'unlabelled'):
        own = [sample for sample in samples if sample.set == name]
        classes = sorted({sample.label for sample in own})
        for split in SPLITS if name in SETS else ('fit',):
            part = [sample for sample in own if sample.split in (split, 'unlabelled')]
            lines = [f'{sample.path} {classes.index(sample.label)}\n' for sample in part]
            _pack(data, PACKED / name / split, lines, 'image' if name == 'images' else 'video')
        if name in SETS:
            _save_pixels(name, [sample for sample in own if sample.split in SPLITS])
    done.write_text(json.dumps(stamp))


def _pack(data: Path, out: Path, lines: list[str], kind: str) -> None:
    from vicmae.data_tools.find_source import find_source
    from vicmae.data_tools.packing.pack import Packing
    from vicmae.data_tools.packing.recoding import choose_recipe

    print(f'Packing {len(lines)} files to {out.relative_to(ROOT)}', flush=True)
    out.mkdir(parents=True, exist_ok=True)
    files = PACKED / f'{out.parent.name}-{out.name}.txt'
    files.write_text(''.join(lines))
    videos = dict(video_as='jpeg', fps=FPS) if kind == 'video' else {}
    recipe = choose_recipe(kind, short_side=SHORT_SIDE, quality=QUALITY, **videos)
    tally = Packing(find_source(str(files), kind, data_root=str(data)), recipe).run(str(out))
    if tally.num_samples != len(lines):
        raise SystemExit(
            f'error: {len(lines) - tally.num_samples} files cannot be read: {out}/bad_files.jsonl'
        )


def _save_pixels(name: str, samples: list[Sample]) -> None:
    """Saves an array of a set's pixels, in the order of its shards: fit, dev, val, each by path."""
    from vicmae.datasets.sample_key import SampleKey
    from vicmae.registry import DATASETS

    image = name == 'images'
    reading = [dict(type='LoadImage')] if image else _READ_CLIP
    dataset = DATASETS.build(
        dict(
            type='ImageShards' if image else 'VideoShards',
            shards=[str(PACKED / name / split) for split in SPLITS],
            with_labels=True,
            pipeline=[*reading, dict(type='CenterCrop', size=SIZE), dict(type='PackClip')],
        )
    )
    packed = [dataset[SampleKey(0, 0, index)] for index in range(len(dataset))]
    pixels = np.stack([sample['inputs'].numpy() for sample in packed])
    samples = sorted(samples, key=lambda sample: (SPLITS.index(sample.split), sample.path))
    labels = np.array([int(sample['data_samples'].gt_label) for sample in packed])
    classes = sorted({sample.label for sample in samples})
    if labels.tolist() != [classes.index(sample.label) for sample in samples]:
        raise SystemExit(f'error: the shards of {name} are not in the order of its list.')
    np.savez(
        PACKED / f'{name}.npz',
        pixels=pixels[:, 0] if image else pixels,
        labels=labels,
        splits=np.array([sample.split for sample in samples]),
        groups=np.array([sample.group for sample in samples]),
    )


def labelled_sets() -> Iterator[LabelledSet]:
    """Yields the labelled sets that `prepare` made."""
    for name in SETS:
        with np.load(PACKED / f'{name}.npz') as arrays:
            yield LabelledSet(name, **arrays)
