# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

from vicmae.datasets.bad_files import to_json_line
from vicmae.errors import DataError
from vicmae.utils.files import locked

from .file_check import Verdict

_BEGINNING = b'{"file": '
_LONGEST_LINE = 2**20


class CheckReport:
    """A file of verdicts, one JSON object a line, with which an interrupted check continues.

    Used in a `with` statement, which keeps it for one process. What it holds already stays, but for a last line that
    a kill tore.

    Args:
        path: Path of the file. One that is no report is refused.
        fresh: Whether to start over.
    """

    def __init__(self, path: str, *, fresh: bool = False) -> None:
        self.path = path
        self._fresh = fresh
        self._file: BinaryIO

    def add(self, verdict: Verdict) -> None:
        """Appends a verdict; once this returns, no kill of this process loses it."""
        with self._errors_named():
            self._file.write(to_json_line(verdict._asdict()).encode())
            self._file.flush()

    def __iter__(self) -> Iterator[Verdict]:
        for number, line in enumerate(self._lines(), start=1):
            yield self._parse(line, number)

    def __enter__(self) -> 'CheckReport':
        folder, name = os.path.split(self.path)
        with self._errors_named(), ExitStack() as stack:
            os.makedirs(folder or '.', exist_ok=True)
            stack.enter_context(locked(os.path.join(folder, f'.{name}.lock'), self._refuse_second))
            self._file = stack.enter_context(open(self.path, 'a+b'))
            self._begin()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._open.close()

    def _refuse_second(self) -> None:
        raise DataError(f'Another process is writing the report {self.path!r}.')

    def _begin(self) -> None:
        for _ in self:  # refuses what is no report, also before that is thrown away
            if self._fresh:
                break
        self._file.truncate(0 if self._fresh else sum(map(len, self._lines())))

    def _lines(self) -> Iterator[bytes]:
        """Yields all lines, without a last one that a kill tore."""
        self._file.seek(0)
        while line := self._file.readline(_LONGEST_LINE):
            if line.endswith(b'\n') or not line.startswith(_BEGINNING[: len(line)]):
                yield line

    def _parse(self, line: bytes, number: int) -> Verdict:
        try:
            return Verdict(**json.loads(line))
        except (ValueError, TypeError):
            raise DataError(
                f'{self.path!r} is no report of this check: its line {number} is {line[:80]!r}. '
                'Nothing was changed. Give another file.'
            ) from None

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"Can't write the report {self.path!r}: {error.strerror or error}."
            ) from error
