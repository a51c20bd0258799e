# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The folder that a packed data set is written to: its shards, how far they reach, and what was left out."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vicmae.errors import DataError
from vicmae.io.shards.index import build_index, index_path, read_index, read_summary
from vicmae.utils.files import locked, whole_file

PACK_FILE = 'pack.json'
BAD_FILES = 'bad_files.jsonl'
_LOCK = '.pack.lock'
_OURS = re.compile(r'(image|video)s-\d{6}\.tar(\.index)?(\.unfinished)?')


@dataclass
class Tally:
    """Counts of what has been packed.

    Args:
        num_files: Files that were read, or tried.
        num_samples: How many of them are in the shards.
        num_shards: Shards that are complete.
        num_frames: Of all samples; an image is one.
        num_key_frames: How many of them can be decoded alone; 0 where that isn't known.
        bytes_in: Size of the files that were read.
        bytes_out: Size of the shards.
        seconds: Time that it took.
    """

    num_files: int = 0
    num_samples: int = 0
    num_shards: int = 0
    num_frames: int = 0
    num_key_frames: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0

    @property
    def num_bad(self) -> int:
        """Files that are not in the shards."""
        return self.num_files - self.num_samples


class PackFolder:
    """The folder of shards of one kind and one packing; nothing else may be in it.

    `pack.json` says what the shards hold and how they were made. It is written after each of them: a shard that it
    doesn't count is written again.

    Args:
        path: The folder. It is made where there is none.
        kind: 'image' or 'video'.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        self.path = Path(path)
        self.kind = kind

    @property
    def bad_files(self) -> Path:
        """Returns the path of the list of files that were left out."""
        return self.path / BAD_FILES

    def shard(self, number: int) -> str:
        """Returns the path of a shard."""
        return str(self.path / f'{self.kind}s-{number:06d}.tar')

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps other processes from packing into it."""
        self._refuse_foreign()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / _LOCK, self._refuse_second):
            yield

    def begin(self, settings: dict[str, Any], fresh: bool) -> Tally:
        """Returns what an earlier run has packed with these settings; `fresh` removes what it packed with any."""
        earlier = self._read()
        if earlier is None or fresh:
            self._clear()
            self.note(settings, Tally())
            return Tally()
        if earlier['settings'] != settings:
            raise DataError(self._differs(earlier['settings'], settings))
        tally = Tally(**earlier['packed'])
        for number in range(tally.num_shards):
            self._require_whole(self.shard(number))
        return tally

    def note(self, settings: dict[str, Any], tally: Tally) -> None:
        """Writes `pack.json`."""
        with whole_file(str(self.path / PACK_FILE)) as file:
            content = dict(settings=settings, packed=asdict(tally))
            file.write(json.dumps(content, indent=1).encode() + b'\n')

    @contextmanager
    def opened_bad_files(self, num_lines: int) -> Iterator[BinaryIO]:
        """Opens the list of bad files behind its first lines; later ones are of files that are tried again."""
        with open(self.bad_files, 'a+b') as file:
            file.seek(0)
            file.truncate(sum(map(len, itertools.islice(file, num_lines))))
            file.seek(0, os.SEEK_END)
            yield file

    def _refuse_second(self) -> None:
        raise DataError(
            f'Another process is packing into {str(self.path)!r}. Let it finish, or name another folder.'
        )

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f'Shards need a folder, but {str(self.path)!r} is a file.')
        if not self.path.exists() or (self.path / PACK_FILE).exists():
            return
        found = sorted(path.name for path in self.path.iterdir() if path.name != _LOCK)
        if found:
            raise DataError(
                f'{str(self.path)!r} holds something that was not packed here, such as {found[0]!r}. '
                'Nothing was changed. Name a new or an empty folder.'
            )

    def _read(self) -> dict[str, Any] | None:
        path = self.path / PACK_FILE
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            return dict(settings=content['settings'], packed=content['packed'])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"Can't read {str(path)!r}: {error}. Start over with `--fresh`, or name another folder."
            ) from error

    def _clear(self) -> None:
        """Removes what was packed here; `pack.json` last, which says that it was."""
        if self.path.is_dir():
            for path in self.path.iterdir():
                if _OURS.fullmatch(path.name) or path.name == BAD_FILES:
                    path.unlink()
        (self.path / PACK_FILE).unlink(missing_ok=True)

    def _differs(self, earlier: dict[str, Any], settings: dict[str, Any]) -> str:
        names = sorted({*earlier, *settings})
        changed = [name for name in names if earlier.get(name) != settings.get(name)]
        what = ', '.join(
            f'`{name}` was {earlier.get(name)!r} and is {settings.get(name)!r}'
            for name in changed
            if name != 'files' or changed == ['files']
        )
        if changed == ['files']:
            what = 'the list of files is another'
        return (
            f'{str(self.path)!r} holds shards that were packed differently: {what}. '
            'Name another folder, or start over with `--fresh`.'
        )

    def _require_whole(self, shard: str) -> None:
        """Raises an error where a shard, or its index, was changed."""
        if not os.path.isfile(shard):
            raise DataError(f'The shard {shard!r} is missing. Start over with `--fresh`.')
        if read_summary(index_path(shard)).tar_size != os.path.getsize(shard):
            raise DataError(
                f'The shard {shard!r} is not what was packed: its size is another. Start over with `--fresh`.'
            )


def check_shard(path: str) -> int:
    """Makes the index of a shard again, compares it with the existing one, and returns the number of samples."""
    written, found = read_index(index_path(path)), build_index(path)
    same = all(np.array_equal(found.arrays[name], written.arrays[name]) for name in found.arrays)
    if not same or (found.tar_size, found.extensions) != (written.tar_size, written.extensions):
        raise DataError(f'The shard {path!r} and its index do not fit: one of them is damaged.')
    return len(found)
