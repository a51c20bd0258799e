# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the config of a run on one's own folders, for `vicmae train --images DIR --videos DIR`."""

import csv
import math
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from vicmae.datasets import ImageFolder, VideoFolder
from vicmae.errors import ConfigError, DataError
from vicmae.io.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from vicmae.utils.names import name_some


class Method(NamedTuple):
    """What a method needs of a run on own data."""

    base: str  # the config to change
    kinds: tuple[str, ...] = ('images', 'videos')
    mixes_kinds: bool = True  # in a batch


METHODS = {
    'vicmae': Method('vicmae/vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data'),
    'mae': Method('mae/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400'),
    'videomae': Method('videomae/videomae_vit-base-p16_8xb128-amp-coslr-800e_k400', ('videos',)),
    'maest': Method('maest/maest_vit-base-p16_8xb64-amp-coslr-800e_k400', ('videos',)),
    'omnimae': Method(
        'omnimae/omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2', mixes_kinds=False
    ),
}
TRAIN_NAMES, TEST_NAMES = ('train', 'training'), ('val', 'test', 'validation', 'valid')
_KINDS: dict[str, tuple[type[ImageFolder] | type[VideoFolder], tuple[str, ...]]] = {
    'images': (ImageFolder, IMAGE_EXTENSIONS),
    'videos': (VideoFolder, VIDEO_EXTENSIONS),
}
_GRIDS = (8, 16)  # patches a side that a default patch size may give
_MOST_TO_ONE = 7  # the paper's 4.5 images to a video, with room

_CONFIG = Template('''r"""Pretraining on own data, written by `vicmae train`. Edit it, then run

    vicmae train $path
"""

_base_ = 'vicmae::$base.py'

work_dir = $work_dir

image_size = $image_size
patch_size = $patch_size
model_size = $model_size

train_dataloader = dict(
    batch_size=$batch_size,
    num_workers=$num_workers,
    dataset=dict(
$sources
    ),
)
optim_wrapper = dict(optimizer=dict(lr=$lr))
auto_scale_lr = dict(base_batch_size=$batch_size)
train_cfg = dict(max_epochs=$epochs, val_interval=$val_interval)
default_hooks = dict(logger=dict(interval=10))
$evaluation''')

_NO_EVALUATION = """
# No labels, no probe.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
"""

_EVALUATION = Template("""
# kNN on labelled files: those of the bank vote for the class of each query.
test_image = [dict(type='LoadImage'), dict(type='CenterCrop'), dict(type='PackClip')]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames'),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
val_dataloader = dict(
    _delete_=True,
    batch_size=$batch_size,
    num_workers=$num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
$sources
        ),
    ),
)
val_evaluator = dict(_delete_=True, type='KNNAccuracy', k=10)
val_cfg = dict(_delete_=True)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(_delete_=True)
""")


@dataclass(frozen=True)
class QuickStart:
    """The choices of a run on own data.

    Args:
        out: Folder of the config and, below it, of the run.
        images: Folder of pictures, at any depth.
        videos: Folder of clips, at any depth.
        method: One of `METHODS`.
        labelled: Folder of class folders, or of `train` and `val` with class folders each, for kNN.
        image_size: Pixels of the crops' side.
        patch_size: Pixels of a patch's side; by default 16, or what gives 8 to 16 patches a side.
        model_size: 'tiny', 'small', 'base', 'large' or 'huge'.
        epochs: Length of the run.
        batch_size: Samples in a step; by default 64, or as many as there are (of each kind, with 'omnimae').
    """

    out: str
    images: str | None = None
    videos: str | None = None
    method: str = 'vicmae'
    labelled: str | None = None
    image_size: int = 224
    patch_size: int | None = None
    model_size: str = 'small'
    epochs: int = 100
    batch_size: int | None = None

    @property
    def _method(self) -> Method:
        return METHODS[self.method]

    @property
    def path(self) -> Path:
        """The config file."""
        return Path(self.out) / 'config.py'

    def write(self, *, overwrite: bool = False) -> Path:
        """Writes the config, and lists of labelled files where they are split, and returns its path.

        A config with other settings is an error, or with `overwrite` kept as `config.old.py`.
        """
        self._check()
        counts = {kind: _count(kind, folder) for kind, folder in self._folders()}
        if not counts:
            raise ConfigError('Give images or videos to train on: `--images DIR`, `--videos DIR`.')
        self._require_kinds(counts)
        # A batch of one kind needs as many samples of each.
        samples = sum(counts.values()) if self._method.mixes_kinds else min(counts.values())
        batch_size = self.batch_size or min(64, samples)
        num_workers = min(4, os.cpu_count() or 1)
        text = _CONFIG.substitute(
            path=shlex.quote(str(self.path)),
            base=self._method.base,
            work_dir=repr(os.path.abspath(os.path.join(self.out, 'run'))),
            image_size=self.image_size,
            patch_size=self.patch_size or fitting_patch_size(self.image_size),
            model_size=repr(self.model_size),
            batch_size=batch_size,
            num_workers=num_workers,
            sources=self._train_sources(counts),
            lr=f'{1e-3 * math.sqrt(batch_size / 256):.3g}',
            epochs=self.epochs,
            val_interval=max(1, self.epochs // 10),
            evaluation=self._evaluation(num_workers),
        )
        command = f'vicmae train {shlex.quote(str(self.path))}'
        if self.path.exists() and self.path.read_text(encoding='utf-8') != text:
            if not overwrite:
                raise ConfigError(
                    f'{str(self.path)!r} exists, with other settings. Train it with `{command}`, '
                    'replace it with `--overwrite`, or name another folder with `--out`.'
                )
            self.path.replace(self.path.with_name('config.old.py'))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text, encoding='utf-8')
        return self.path

    def _check(self) -> None:
        numbers = dict(epochs=self.epochs, batch_size=self.batch_size, image_size=self.image_size)
        for name, value in dict(numbers, patch_size=self.patch_size).items():
            if value is not None and value < 1:
                option = '--' + name.replace('_', '-')
                raise ConfigError(f'`{option}` must be at least 1, got {value}.')
        if self.patch_size is not None and self.image_size % self.patch_size:
            raise ConfigError(
                f'`--patch-size` must divide `--image-size`, got {self.patch_size} and {self.image_size}.'
            )

    def _require_kinds(self, counts: Iterable[str]) -> None:
        """Refuses a kind of data that the method doesn't train on."""
        for kind in counts:
            if kind not in self._method.kinds:
                others = [name for name, method in METHODS.items() if kind in method.kinds]
                raise ConfigError(
                    f'`--method {self.method}` trains on {" and ".join(self._method.kinds)} alone, got `--{kind}`. '
                    f'Leave it out, or choose {", ".join(others)}.'
                )

    def _folders(self) -> Iterator[tuple[str, str]]:
        for kind, folder in (('images', self.images), ('videos', self.videos)):
            if folder is not None:
                yield kind, os.path.abspath(folder)

    def _train_sources(self, counts: dict[str, int]) -> str:
        folders = dict(self._folders())
        lines = ['        sources=dict(']
        for kind in _KINDS:
            # Without the list of the base, which names its own files.
            value = f"dict(data_root={folders[kind]!r}, ann_file='')" if kind in folders else 'None'
            lines.append(f'            {kind}={value},')
        lines.append('        ),')
        if len(counts) == 2:
            most, least = max(counts.values()), min(counts.values())
            if most > _MOST_TO_ONE * least:
                many = max(counts, key=lambda kind: counts[kind])
                weights = {kind: _MOST_TO_ONE if kind == many else 1 for kind in counts}
                lines += [
                    f'        # There are {counts["images"]:,} images and {counts["videos"]:,} videos.',
                    f'        weights=dict(images={weights["images"]}, videos={weights["videos"]}),',
                ]
        return '\n'.join(lines)

    def _evaluation(self, num_workers: int) -> str:
        if self.labelled is None:
            return _NO_EVALUATION
        root = Path(os.path.abspath(self.labelled))
        if not root.is_dir():
            raise DataError(f'`--labelled`: there is no folder {str(root)!r}.')
        found = [
            next((root / name for name in names if (root / name).is_dir()), None)
            for names in (TRAIN_NAMES, TEST_NAMES)
        ]
        folders = [folder for folder in found if folder] or [
            root
        ]  # one is split, two are used as they are
        sources = []
        for kind in _KINDS:
            if not all(_has(kind, str(folder)) for folder in folders):
                continue
            if len(folders) == 2:
                places: list[dict[str, Any]] = [dict(data_root=str(folder)) for folder in folders]
            else:
                places = self._split(kind, str(folders[0]))
            for role, place in zip(('bank', 'query'), places, strict=True):
                sources.append(_labelled_source(kind, role, place))
        if not sources:
            raise DataError(
                f'`--labelled`: {str(root)!r} has no images and no videos, or not in both of its parts. It needs a '
                'folder for each class, or `train` and `val` with these.'
            )
        return _EVALUATION.substitute(
            batch_size=64, num_workers=num_workers, sources='\n'.join(sources)
        )

    def _split(self, kind: str, root: str) -> list[dict[str, Any]]:
        """Lists every fifth file of each class for the queries, the others for the bank."""
        source = _KINDS[kind][0](root, with_labels=True, pipeline=[])
        by_class: dict[str, list[str]] = {}
        for index in range(len(source)):
            info = source.get_data_info(index)
            by_class.setdefault(info['class_name'], []).append(info['path'])
        parts: dict[str, list[tuple[str, str]]] = {'bank': [], 'query': []}
        for name, paths in by_class.items():
            if len(paths) > 1:  # a single file can't be found by another of its class
                for number, path in enumerate(paths):
                    last_of_five = number % 5 == 4 or (len(paths) < 5 and number == len(paths) - 1)
                    parts['query' if last_of_five else 'bank'].append((path, name))
        if len({name for _, name in parts['query']}) < 2:
            raise DataError(
                f'`--labelled`: {root!r} must have a folder for each of at least two classes, with two {kind} or more '
                f'in each. Found {len(by_class)}: {name_some(list(by_class))}.'
            )
        places = []
        for role, rows in parts.items():
            table = Path(self.out) / f'labelled_{kind}_{role}.csv'
            table.parent.mkdir(parents=True, exist_ok=True)
            with open(table, 'w', encoding='utf-8', newline='') as file:
                writer = csv.writer(file)
                writer.writerow(('path', 'label'))
                writer.writerows(rows)
            places.append(dict(ann_file=os.path.abspath(table)))
        return places


def fitting_patch_size(image_size: int) -> int:
    """Returns 16 where that gives 8 to 32 patches a side, or the largest size that gives 8 to 16.

    Example:
        >>> [fitting_patch_size(size) for size in (224, 160, 384, 96, 32, 150)]
        [16, 16, 16, 8, 4, 15]
    """
    if image_size % 16 == 0 and 8 <= image_size // 16 <= 32:
        return 16
    divisors = [size for size in range(1, image_size + 1) if image_size % size == 0]
    fitting = [size for size in divisors if _GRIDS[0] <= image_size // size <= _GRIDS[1]]
    if not fitting:
        near = {max(8, image_size // 8 * 8), image_size // 8 * 8 + 8}
        options = ' or '.join(f'`--image-size {size}`' for size in sorted(near))
        raise ConfigError(
            f'No patch size cuts {image_size} pixels into 8 to 16 patches a side. Use {options}, or set `--patch-size`.'
        )
    powers = [size for size in fitting if size & (size - 1) == 0]
    return max(powers or fitting)


def _count(kind: str, folder: str) -> int:
    source = _KINDS[kind][0](folder, pipeline=[])  # says what is wrong with a folder
    return len(source)


def _has(kind: str, folder: str) -> bool:
    """Whether there is a file of this kind below a folder."""
    extensions = _KINDS[kind][1]
    return any(
        name.lower().endswith(extensions) for _, _, names in os.walk(folder) for name in names
    )


def _labelled_source(kind: str, role: str, place: dict[str, Any]) -> str:
    """Returns the lines of one source of the evaluation."""
    word = kind.removesuffix('s')
    lines = [
        f'{word}_{role}=dict(',
        f"    type='{_KINDS[kind][0].__name__}',",
        *(f'    {name}={value!r},' for name, value in place.items()),
        '    with_labels=True,',
        f"    tags=dict(probe='{kind}', role='{role}'),",
        f'    pipeline=test_{word},',
        '),',
    ]
    return '\n'.join(f'            {line}' for line in lines)
