# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Text lists and CSV files with one sample per line, for tens of millions of samples."""

import csv
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import torch

from vicmae.errors import DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.log import say, warn
from vicmae.utils.names import name_some

_LINES_PER_BLOCK = 64
_CHUNK_BYTES = 2**24
_LONGEST_LINE = 2**20
_BOM = b'\xef\xbb\xbf'
_BLANK = bytes(range(33))
_COMMENT = b'#'
_MAX_LINES_CHECKED = 100_000
_MAX_EXISTENCE_CHECKS = 1000


class ListFile:
    """The lines of a text file by number, without blank ones and those that start with `#`.

    The text stays in the file; memory holds only the position of every 64th line.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._open_file: BinaryIO | None = None
        self._block: tuple[int, list[tuple[int, bytes]]] = (-1, [])
        try:
            with open(path, 'rb') as file:
                self._stamp = _stamp_of(file)
                starts, numbers, self._length = _index_lines(file, path)
        except OSError as error:
            raise self._unreadable(error) from error
        # Tensors, since torch passes them to spawned workers in shared memory.
        self._starts, self._numbers = torch.from_numpy(starts), torch.from_numpy(numbers)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[int, str]:
        """Returns the number of a line in the file, from 1 on, and its text without surrounding space."""
        block, place = divmod(index, _LINES_PER_BLOCK)
        if block != self._block[0]:
            self._block = block, list(self._read_block(block))
        try:
            number, line = self._block[1][place]
        except IndexError:
            raise self._changed() from None
        try:
            return number, line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f'The list {self.path!r} is not UTF-8 text: line {number}, {error}.'
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_open_file': None, '_block': (-1, [])}

    def _read_block(self, block: int) -> Iterator[tuple[int, bytes]]:
        start = int(self._starts[block])
        end = int(self._starts[block + 1]) if block + 1 < len(self._starts) else self._stamp[0]
        try:
            text = os.pread(self._file().fileno(), end - start, start)
        except OSError as error:
            raise self._unreadable(error) from error
        for number, line in enumerate(text.split(b'\n'), start=int(self._numbers[block])):
            if line.strip(_BLANK) and not line.startswith(_COMMENT):
                yield number, line

    def _file(self) -> BinaryIO:
        if self._open_file is None:  # once in each process
            self._open_file = open(self.path, 'rb')  # noqa: SIM115
            if _stamp_of(self._open_file) != self._stamp:
                self._open_file = None
                raise self._changed()
        return self._open_file

    def _changed(self) -> DataError:
        return DataError(
            f'The list {self.path!r} has changed since it was opened. Start again, and do not change a list in use.'
        )

    def _unreadable(self, error: OSError) -> DataError:
        missing = isinstance(error, FileNotFoundError)
        hint = " `ann_file=''` reads the folder without a list." if missing else ''
        return DataError(f"Can't read the list `ann_file` {self.path!r}: {error.strerror}.{hint}")


def _stamp_of(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns


def _index_lines(file: BinaryIO, path: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the start of every 64th line that counts, its number in the file, and how many lines count."""
    starts, numbers = [], []
    count, line_number = 0, 1
    position = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(position)
    for chunk in _whole_lines(file, path):
        codes = np.frombuffer(chunk, np.uint8)
        begins = np.concatenate([[0], np.flatnonzero(codes[:-1] == ord('\n')) + 1])
        filled = np.logical_or.reduceat(codes > _BLANK[-1], begins)
        filled = np.flatnonzero(filled & (codes[begins] != ord(_COMMENT)))
        every_64th = filled[-count % _LINES_PER_BLOCK :: _LINES_PER_BLOCK]
        starts.append(position + begins[every_64th])
        numbers.append(line_number + every_64th)
        count += len(filled)
        line_number += len(begins)
        position += len(chunk)
    if not count:
        raise DataError(f'The list {path!r} has no lines. Write one `path label` a line.')
    return np.concatenate(starts), np.concatenate(numbers), count


def _whole_lines(file: BinaryIO, path: str) -> Iterator[bytes]:
    """Reads the text in pieces that end with a line."""
    while chunk := file.read(_CHUNK_BYTES):
        rest = b'' if chunk.endswith(b'\n') else file.readline(_LONGEST_LINE)
        if len(rest) == _LONGEST_LINE and not rest.endswith(b'\n'):
            raise DataError(f'{path!r} is no list: one line has more than {len(rest)} bytes.')
        yield chunk + rest


class ListRows:
    """The rows of a text list or a CSV file by number, as `path`, `gt_label` and others.

    A first line with a field `path`, alone or between commas, is the header of a CSV file: columns `path`, `label` and
    `num_frames`, each row in one line, with the quotes of Python's `csv`. Only `path` is required, others are ignored.

    Args:
        path: Path of the list.
        parse: Reads a row of a text list, or raises ValueError.
        extensions: What paths of a CSV file must end in; any if empty.
    """

    def __init__(
        self, path: str, parse: Callable[[str], dict[str, Any]], extensions: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self._lines = ListFile(path)
        header = _read_header(self._lines[0][1])
        self._parse = CSVRow(header, extensions) if header else parse
        self._first = 1 if header else 0
        if not len(self):
            raise DataError(f'The list {path!r} has no lines after its header.')

    def __len__(self) -> int:
        return len(self._lines) - self._first

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Returns a row; its `gt_label` is a whole number, -1 for none, or the name of a class."""
        line_number, line = self._lines[number + self._first]
        try:
            return self._parse(line)
        except ValueError as error:
            raise DataError(f'{self.path}, line {line_number}: {error}') from None

    def line_number(self, number: int) -> int:
        """Returns the number of a row's line in the file, from 1 on."""
        return self._lines[number + self._first][0]


def _read_header(line: str) -> list[str] | None:
    """Returns the columns of a CSV file by its first line; None for a text list."""
    names = [name.strip().lower() for name in next(csv.reader([line]))]
    return names if 'path' in names else None


class CSVRow:
    """Reads a line of a CSV file with a header."""

    def __init__(self, columns: list[str], extensions: tuple[str, ...] = ()) -> None:
        self.columns = columns
        self.extensions = extensions

    def __call__(self, line: str) -> dict[str, Any]:
        try:
            values = next(csv.reader([line], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise ValueError(f'{error}, in {line!r}.') from None
        if len(values) != len(self.columns):
            raise ValueError(
                f'expected {len(self.columns)} values ({", ".join(self.columns)}), got {len(values)} in {line!r}.'
            )
        row = dict(zip(self.columns, map(str.strip, values), strict=True))
        if not row['path'] or (
            self.extensions and not row['path'].lower().endswith(self.extensions)
        ):
            raise ValueError(
                f'the path must end in one of {" ".join(self.extensions)}, got {row["path"]!r}.'
            )
        sample = dict(path=row['path'], gt_label=read_label(row.get('label', '')))
        if row.get('num_frames'):
            sample['num_frames'] = int(row['num_frames'])
        return sample


def read_label(text: str) -> int | str:
    """Reads a label: a whole number, the name of a class, or '' for none."""
    if not text:
        return NO_LABEL
    if text.isdecimal():
        return int(text)
    if re.fullmatch(r'[-+]?\d*\.?\d+', text):
        raise ValueError(
            f'the label must be a whole number from 0 on or the name of a class, got {text!r}.'
        )
    return text


class ListedSamples:
    """The samples of a list file, as a `Catalogue`.

    Labels that are names get numbers in the order of the sorted names. Up to a hundred thousand lines, evenly spread,
    are checked at once (all of them where labels are names), others when their sample is loaded. Up to a thousand files
    are looked for: it is an error if all are missing; single missing ones count as bad files.

    Args:
        path: Path of the list.
        root: Folder that the paths in it are relative to.
        parse: Reads `path`, `gt_label` and others from a line, or raises ValueError.
        extensions: What paths of a CSV file must end in; any if empty.
    """

    classes: tuple[str, ...] | None = None
    labelling = 'Write `path label` lines'

    def __init__(
        self,
        path: str,
        root: str,
        parse: Callable[[str], dict[str, Any]],
        extensions: tuple[str, ...] = (),
    ) -> None:
        self.name = path
        self._root = root
        self._rows = ListRows(path, parse, extensions)
        step = -(-len(self) // _MAX_LINES_CHECKED)
        checked = range(0, len(self), step)
        named = [n for n in checked if isinstance(self._rows[n]['gt_label'], str)]
        if named:
            self.classes = self._find_names(named[0])
            say(
                f'{self.name}: labels are names. The {len(self.classes)} classes are numbered from 0 on in the order '
                f'of their names: {name_some(self.classes)}.'
            )
        self._label_of = {name: label for label, name in enumerate(self.classes or ())}
        self._look_for_files()

    def _find_names(self, named: int) -> tuple[str, ...]:
        """Returns the sorted names of all classes, where one row has a name."""
        names: set[str] = set()
        for number in range(len(self)):
            label = self._rows[number]['gt_label']
            if isinstance(label, str):
                names.add(label)
            elif label != NO_LABEL:
                raise self._mixed(named, number)
        return tuple(sorted(names))

    def _mixed(self, named: int, numbered: int) -> DataError:
        parts = [
            f'the label of line {self._rows.line_number(row)} is the {what} {self._rows[row]["gt_label"]!r}'
            for row, what in ((named, 'name'), (numbered, 'number'))
        ]
        return DataError(
            f'{self.name}: {" and ".join(parts)}. Write names in all lines, or numbers in all.'
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = self._rows[number]
        sample['path'] = os.path.join(self._root, sample['path'])
        name = sample['gt_label']  # or a number
        if self.classes is not None and name != NO_LABEL:
            sample |= dict(gt_label=self._label_of[name], class_name=name)
        elif isinstance(name, str):
            raise self._mixed(number, 0)
        return sample

    def labels(self) -> np.ndarray:
        """Returns the label of each sample, -1 for none."""
        return np.fromiter((self[number]['gt_label'] for number in range(len(self))), np.int64)

    def _look_for_files(self) -> None:
        numbers = range(0, len(self), max(1, len(self) // _MAX_EXISTENCE_CHECKS))
        missing = [number for number in numbers if not os.path.exists(self[number]['path'])]
        if not missing:
            return
        first = f'line {self._rows.line_number(missing[0])}: {self[missing[0]]["path"]!r}'
        if len(missing) == len(numbers):
            raise DataError(
                f'{self.name}: none of the {len(numbers)} files that were looked for exists, such as {first}. '
                f'Paths are relative to `data_root`, which is {self._root!r}.'
            )
        warn(
            f'{self.name}: {len(missing)} of the {len(numbers)} files that were looked for are missing, the first in '
            f'{first}. They count as bad files.'
        )
