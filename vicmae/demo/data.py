# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo data set: real JPEG images and H.264 videos in class folders, drawn on this machine.

Written once, verified, reused: a manifest, written last, holds the size of each file, and a later call
that finds it true returns at once. `vicmae.demo.scenes` says what is in the pictures.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from vicmae.errors import DataError
from vicmae.utils.files import locked, whole_file
from vicmae.utils.progress import live_bar

from . import scenes

FORMAT_VERSION = 1  # raise it when the same seed draws other pictures
MANIFEST = 'manifest.json'
MARKER = '.vicmae-demo-data'
LOCK = '.vicmae-demo-data.lock'

# Number of classes, and of files per class in each folder. The smaller preset is a part of the larger one.
PRESETS: dict[str, tuple[int, dict[str, int]]] = {
    'demo': (8, {'images/train': 200, 'images/val': 40, 'videos/train': 50, 'videos/val': 20}),
    'debug': (4, {'images/train': 12, 'images/val': 4, 'videos/train': 4, 'videos/val': 2}),
}
_MAX_WORKERS = 8
# A worker runs the drawing file by its path: to import it as a module would import the package, and
# with it torch. It looks for modules where this process does.
_WORKER_CODE = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop())
runpy.run_path(sys.argv.pop(1), run_name='__main__')
"""


@dataclass(frozen=True)
class Layout:
    """Describes a folder of demo data, enough to name each file. It is stored as the marker of the folder."""

    version: int
    preset: str
    seed: int
    classes: list[str]
    files_per_class: dict[str, int]

    @classmethod
    def of(cls, preset: str, seed: int) -> Layout:
        """Return the layout of a preset."""
        num_classes, files_per_class = PRESETS[preset]
        return cls(FORMAT_VERSION, preset, seed, list(scenes.THINGS)[:num_classes], files_per_class)

    def names(self) -> list[str]:
        """Return the path of each file below the root."""
        return [
            f'{folder}/{thing}/{index:04d}{".jpg" if folder.startswith("images") else ".mp4"}'
            for folder, count in self.files_per_class.items()
            for thing in self.classes
            for index in range(count)
        ]


def make_demo_data(
    root: str | Path,
    preset: str = 'demo',
    seed: int = 0,
    num_workers: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Make sure that the demo data set is there, complete, and return its folder.

    A complete folder is left as it is; an interrupted or damaged one is completed; one of another preset
    or seed is an error, since another run may be reading it. Several processes may call this at once: one
    writes, the others wait for it.

    Args:
        root: Folder to hold `{images,videos}/{train,val}/<class>/`. One that is neither empty nor
            ours is an error, and left alone.
        preset: `demo` (8 classes, to learn from) or `debug` (4 classes and few files, to try the machinery).
        seed: The pictures depend on it and on nothing else.
        num_workers: Processes that draw; one per available core if left out, eight at most.
        progress: Whether to show a progress bar; if left out, on a terminal only. A line says
            when writing begins and another when it ended, with or without it.

    Example:
        >>> make_demo_data('data/demo')  # doctest: +SKIP
        PosixPath('data/demo')
    """
    if preset not in PRESETS:
        raise DataError(f'`preset` must be one of {", ".join(PRESETS)}, got {preset!r}.')
    if seed < 0:
        raise DataError(f'`seed` must be 0 or more, got {seed}.')
    if num_workers is not None and num_workers < 1:
        raise DataError(
            f'`num_workers` must be 1 or more, got {num_workers}. Leave it out to use every core.'
        )
    root, layout = Path(root), Layout.of(preset, seed)
    if _is_complete(root, layout):
        return root
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        _refuse_foreign(root)
        root.mkdir(parents=True, exist_ok=True)
        waiting = f'waiting for another process that writes demo data to {root}'
        with locked(root / LOCK, lambda: console.print(waiting)):
            if not _is_complete(root, layout):  # another process may just have written it
                _refuse_foreign(root)
                _begin(root, layout)
                _complete(root, layout, num_workers or _available_cores(), console, progress)
    except OSError as error:
        raise DataError(
            f'Could not write the demo data to {str(root)!r}: {error}. '
            'Make room there or give another folder; what is already written is kept.'
        ) from error
    return root


# --------------------------------------------------------------------------- what is there
def _is_complete(root: Path, layout: Layout) -> bool:
    sizes = _manifest_sizes(root, layout)
    return sizes is not None and all(
        _size(root, name) == sizes.get(name) for name in layout.names()
    )


def _manifest_sizes(root: Path, layout: Layout) -> dict[str, int] | None:
    """Return the size of each file by the manifest, or None if there is none of this layout."""
    manifest = _read_json(root / MANIFEST)
    sizes = manifest.pop('sizes', None)
    return sizes if manifest == asdict(layout) else None


def _finished_files(root: Path, layout: Layout) -> dict[str, int]:
    """Return the size of each file that need not be written.

    Without a manifest (an interrupted run) that is each file there is: files get their names when they
    are complete.
    """
    sizes = {name: _size(root, name) for name in layout.names()}
    expected = _manifest_sizes(root, layout)
    return {
        name: size
        for name, size in sizes.items()
        if size and (expected is None or expected.get(name) == size)
    }


def _size(root: Path, name: str) -> int | None:
    try:
        return os.stat(f'{root}/{name}').st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse_foreign(root: Path) -> None:
    """Raise DataError if the folder holds something and we did not begin it."""
    if root.exists() and not root.is_dir():
        raise DataError(
            f'The demo data needs a folder, but {str(root)!r} is a file. Give another path.'
        )
    if not root.exists() or (root / MARKER).exists():
        return
    found = sorted(path.name for path in root.iterdir() if path.name != LOCK)
    if found:
        shown = ', '.join(found[:3]) + (f' and {len(found) - 3} more' if len(found) > 3 else '')
        raise DataError(
            f'{str(root)!r} is not empty and holds no demo data (it has no file {MARKER!r}): '
            f'found {shown}. Nothing was changed. Give a new or an empty folder.'
        )


# --------------------------------------------------------------------------- writing
def _begin(root: Path, layout: Layout) -> None:
    """Mark the folder as one that is being filled with a layout; remove files of an older version."""
    marked = _read_json(root / MARKER)
    if marked == asdict(layout):
        return
    if marked:
        try:
            other = Layout(**marked)
        except TypeError as error:
            raise DataError(
                f'{str(root)!r} holds demo data of another version of vicmae. '
                'Delete it or give another folder.'
            ) from error
        _refuse_other(root, other, layout)
        _remove(root, other)
    (root / MANIFEST).unlink(missing_ok=True)
    _remove(root, layout)
    _write_json(root / MARKER, asdict(layout))


def _refuse_other(root: Path, found: Layout, wanted: Layout) -> None:
    """Raise DataError for data of another preset or seed, which another run may be reading."""
    if (found.preset, found.seed) != (wanted.preset, wanted.seed):
        raise DataError(
            f'{str(root)!r} holds demo data of preset {found.preset!r} with seed {found.seed}; wanted are those of '
            f'preset {wanted.preset!r} with seed {wanted.seed}. Nothing was changed. Give another folder for these '
            f'(`demo_data.root={root}-{wanted.preset}`), or read what is there (`demo_data.preset={found.preset} '
            f'demo_data.seed={found.seed}`).'
        )


def _remove(root: Path, layout: Layout) -> None:
    """Remove the files of a layout, and the folders that this leaves empty."""
    for name in layout.names():
        (root / name).unlink(missing_ok=True)
        (root / f'{name}.tmp').unlink(missing_ok=True)
    folders = {str(folder) for name in layout.names() for folder in Path(name).parents[:-1]}
    for folder in sorted(folders, reverse=True):
        with suppress(OSError):  # not there, or with something in it that is not ours
            (root / folder).rmdir()


def _complete(
    root: Path, layout: Layout, num_workers: int, console: Console, progress: bool | None
) -> None:
    """Write the files that are not there yet, and the manifest."""
    start = time.perf_counter()
    sizes = _finished_files(root, layout)
    missing = [name for name in layout.names() if name not in sizes]
    # In random order images and videos alternate: workers have equally much to do, and the time left is true.
    missing = random.Random(0).sample(missing, len(missing))
    kept = f' ({len(sizes)} files are there already)' if sizes else ''
    console.print(f'writing demo data: {_count(missing)} to {root}{kept}')
    columns = ('demo data', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        live_bar(console, *columns, total=len(missing), shown=progress) as update,
        closing(_draw(root, layout.seed, missing, num_workers)) as written,
    ):
        for name, size in written:
            sizes[name] = size
            update(advance=1)
    _write_json(root / MANIFEST, {**asdict(layout), 'sizes': dict(sorted(sizes.items()))})
    console.print(f'wrote demo data: {_count(missing)} in {time.perf_counter() - start:.1f} s')


def _draw(
    root: Path, seed: int, names: list[str], num_workers: int
) -> Generator[tuple[str, int], None, None]:
    """Write files in worker processes; yield the name and the size of each when it is written."""
    num_workers = min(num_workers, len(names))
    read_end, write_end = os.pipe()  # one pipe for all workers: it ends when the last of them does
    workers: list[subprocess.Popen[str]] = []
    try:
        with open(read_end, encoding='utf-8') as reports:
            try:
                for index in range(num_workers):
                    workers.append(_start_worker(root, seed, names[index::num_workers], write_end))
            finally:
                os.close(write_end)
            for report in reports:
                size, name = report.rstrip('\n').split('\t', 1)
                if size == 'error':
                    raise OSError(name)
                yield name, int(size)
        for worker in workers:
            if worker.wait() != 0:
                raise DataError(
                    f'A process that draws the demo data ended with status {worker.returncode}.'
                )
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start_worker(root: Path, seed: int, names: list[str], output: int) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [
            sys.executable,
            '-c',
            _WORKER_CODE,
            scenes.__file__,
            str(root),
            str(seed),
            json.dumps(sys.path),
        ],
        stdin=subprocess.PIPE,
        stdout=output,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal reaches us alone, and we end the workers
    )
    assert worker.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
    with suppress(BrokenPipeError):  # one that died at once is seen by its status
        worker.stdin.write('\n'.join(names))
        worker.stdin.close()
    return worker


def _available_cores() -> int:
    return min(_MAX_WORKERS, len(os.sched_getaffinity(0)))


def _read_json(path: Path) -> dict:
    """Return the content of a JSON file, or an empty dict if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(content, indent=1).encode())


# --------------------------------------------------------------------------- messages
def _count(names: list[str]) -> str:
    num_images = sum(name.endswith('.jpg') for name in names)
    return f'{num_images} images, {len(names) - num_images} videos'
