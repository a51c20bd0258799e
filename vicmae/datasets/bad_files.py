# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What becomes of files that can't be read: written down, counted, and the run stopped where there are too many."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from vicmae.errors import DataError
from vicmae.utils.distributed import rank_and_world_size
from vicmae.utils.log import warn

_MAX_WARNINGS = 20
_FEW = 3  # bad files, which are never too many: of a small set they are a large share


class BadFile(NamedTuple):
    """A file that could not be read.

    Attributes:
        file: Its path, or its shard and key.
        kind: 'image' or 'video'.
        error: Why.
        epoch: When.
        index: Its position in the data set.
        visits: How many samples it cost.
        fatal: Whether it hung or killed its process. It isn't tried again then.
    """

    file: str
    kind: str
    error: str
    epoch: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    visits: int = 1
    fatal: bool = False


class BadFileLedger:
    """Writes bad files into a list, one JSON object a line, each file once, and counts them.

    Several ranks write into the same list, and each reads what the others wrote: a file is listed twice only where two
    meet it at the same moment, or where it turns out to be fatal later. A file that hung or killed a process stays
    listed as `fatal` and isn't opened again, also after a resume; delete its line once it is fixed.

    Args:
        path: The list. None keeps it in memory.
        max_fraction: Share of the samples that may be bad. Three files may in any case, unless it is 0.
        judged_from: Number of samples from which on that share is known well enough: before, as many may be bad as
            of so many samples.
        option: How a user sets that share.
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
        self._met: set[str] = set()  # bad files of this process
        self._num_read = 0  # bytes of the list that are known
        self.refresh()

    def add(self, bad: BadFile) -> None:
        """Counts a bad file, and writes it down where it isn't yet."""
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
        self._met.add(bad.file)
        few = len(self._met) <= _FEW and self.max_fraction > 0
        if not few and self._share > self.max_fraction:
            raise DataError(self._too_many(bad))

    @property
    def _share(self) -> float:
        return self.num_bad / max(self.num_samples, self.judged_from)

    def _too_many(self, last: BadFile) -> str:
        where = f' All are in {str(self.path)!r}.' if self.path else ''
        return (
            f'{self.num_bad} of {self.num_samples} samples could not be read so far, more than the share '
            f'`max_bad_fraction` {self.max_fraction} allows. The last is {last.file!r}: '
            f'{last.error.rstrip(".")}.{where} Take them out (tools/dataset_converters/verify.py finds all '
            f'beforehand), or allow more: `--cfg-options {self.option}={_round_up(2 * self._share):g}`.'
        )

    def refresh(self) -> None:
        """Reads what was added to the list since: by other ranks, or by this one's other loaders."""
        for line in self._read_more().splitlines():
            try:
                row = json.loads(line)
                self._listed.add(row['file'])
                if row['fatal']:
                    self.fatal_files.add(row['file'])
            except (ValueError, KeyError, TypeError):  # a line that a kill tore
                continue

    def _read_more(self) -> bytes:
        """Whole lines behind those that are known."""
        if self.path is None:
            return b''
        try:
            with self.path.open('rb') as file:
                if os.fstat(file.fileno()).st_size < self._num_read:  # somebody took lines out
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
                torn = size and os.pread(handle, 1, size - 1) != b'\n'
                # One write at the end of the file: lines of several ranks don't mix.
                os.write(handle, (('\n' if torn else '') + to_json_line(row)).encode())
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
    """To one digit, and no more than all."""
    unit = 10.0 ** math.floor(math.log10(share))
    return min(1.0, math.ceil(share / unit) * unit)


def to_json_line(row: dict[str, Any]) -> str:
    """One line of JSON Lines, readable where its names are text; names that are none survive as escapes."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(row)
    return line + '\n'
