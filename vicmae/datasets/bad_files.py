# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Lists and counts files that can't be read, and stops the run if there are too many."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from vicmae.errors import DataError
from vicmae.utils.distributed import rank_and_world_size
from vicmae.utils.log import warn

_MAX_WARNINGS = 20
_ALWAYS_ALLOWED = 3  # bad files, which may be a large share of a small set


class BadFile(NamedTuple):
    """A file that could not be read."""

    file: str  # path, or shard and key
    kind: str  # 'image' or 'video'
    error: str
    epoch: int
    index: int  # type: ignore[assignment]  # position in the data set; shadows tuple.index
    visits: int = 1  # number of lost samples
    fatal: bool = False  # whether it hung or killed its process: it isn't opened again


class BadFileLedger:
    """Counts bad files and lists them, one JSON object per line.

    All ranks share the list. A file is listed again only if two ranks find it at the same moment, or if it turns out to
    be fatal later. A file that hung or killed a process is listed as `fatal` and isn't opened again, also after
    resuming; delete its line once it is fixed.

    Args:
        path: The list. None keeps it in memory.
        max_fraction: Share of the samples that may be bad. Unless it is 0, three files are always allowed.
        judged_from: Smallest number of samples that the share is computed of.
        option: Option that sets `max_fraction`, for messages.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        max_fraction: float = 0.01,
        judged_from: int = 1000,
        option: str = 'train_dataloader.max_bad_fraction',
    ) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(
                f'`max_bad_fraction` is a share of the samples in [0, 1], got {max_fraction}.'
            )
        self.path = Path(path) if path else None
        self.max_fraction = max_fraction
        self.judged_from = judged_from
        self.option = option
        self.num_samples = 0
        self.num_bad = 0
        self.fatal_files: set[str] = set()
        self._listed: set[str] = set()
        self._found_here: set[str] = set()  # bad files of this process
        self._num_read = 0  # bytes of the list that were read
        self.refresh()

    def add(self, bad: BadFile) -> None:
        """Counts a bad file, and lists a new one; raises DataError if there are too many."""
        self.num_samples += bad.visits
        self.num_bad += bad.visits
        known = self.fatal_files if bad.fatal else self._listed
        if bad.file not in known:
            self.refresh()
        if bad.file not in known:
            known.add(bad.file)
            self._listed.add(bad.file)
            self._write(bad)
            self._warn(bad)
        self._found_here.add(bad.file)
        share = self.num_bad / max(self.num_samples, self.judged_from)
        few = len(self._found_here) <= _ALWAYS_ALLOWED and self.max_fraction > 0
        if few or share <= self.max_fraction:
            return
        where = f' All are in {str(self.path)!r}.' if self.path else ''
        raise DataError(
            f'{self.num_bad} of {self.num_samples} samples could not be read so far, more than the share '
            f'`max_bad_fraction` {self.max_fraction} allows. The last is {bad.file!r}: '
            f'{bad.error.rstrip(".")}.{where} Take them out (`vicmae verify FOLDER --out report.jsonl` finds all '
            f'before training), or allow more: `--cfg-options {self.option}={self._larger_fraction():g}`.'
        )

    def _larger_fraction(self) -> float:
        """Returns a limit that the rest of the data will meet, although only a few samples were counted.

        It is three standard deviations of the count above the share that was counted.
        """
        return _round_up((self.num_bad + 3 * math.sqrt(self.num_bad)) / self.num_samples)

    def refresh(self) -> None:
        """Reads the lines that other ranks and loaders have added."""
        for line in self._read_more().splitlines():
            try:
                row = json.loads(line)
                self._listed.add(row['file'])
                if row['fatal']:
                    self.fatal_files.add(row['file'])
            except (ValueError, KeyError, TypeError):  # a line cut off by a kill
                continue

    def _read_more(self) -> bytes:
        """Returns complete new lines."""
        if self.path is None:
            return b''
        try:
            with self.path.open('rb') as file:
                if os.fstat(file.fileno()).st_size < self._num_read:  # lines were deleted
                    self._num_read = 0
                file.seek(self._num_read)
                lines, newline, _ = file.read().rpartition(b'\n')
        except FileNotFoundError:
            return b''
        except OSError as error:
            warn(f"Can't read {str(self.path)!r}: {error.strerror}.")
            return b''
        self._num_read += len(lines) + len(newline)
        return lines

    def _write(self, bad: BadFile) -> None:
        if self.path is None:
            return
        row = dict(ok=False, rank=rank_and_world_size()[0], **bad._asdict())
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(handle).st_size
                cut_off = size and os.pread(handle, 1, size - 1) != b'\n'
                # One write at the end of the file: lines of several ranks don't mix.
                os.write(handle, (('\n' if cut_off else '') + to_json_line(row)).encode())
            finally:
                os.close(handle)
        except OSError as error:
            warn(f"Can't write {str(self.path)!r}: {error.strerror}.")

    def _warn(self, bad: BadFile) -> None:
        if len(self._listed) <= _MAX_WARNINGS:
            warn(f'Bad file {bad.file!r}: {bad.error}')
        elif len(self._listed) == _MAX_WARNINGS + 1:
            where = f', in {str(self.path)!r}' if self.path else ''
            warn(f'Further bad files are only listed{where}.')


def _round_up(share: float) -> float:
    """Rounds up to one digit, at most 1."""
    unit = 10.0 ** math.floor(math.log10(share))
    return min(1.0, math.ceil(share / unit) * unit)


def to_json_line(row: dict[str, Any]) -> str:
    """Returns a line of JSON, with escapes if a name isn't Unicode."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(row)
    return line + '\n'
