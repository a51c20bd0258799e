# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The folder beside the output, with the parts that are complete. R rows."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vicmae.engine.encoding import FeatureRow
from vicmae.errors import DataError
from vicmae.utils.files import locked, require_folder, whole_file, why_unwritten

from .plan import Part

PLAN_FILE = 'plan.json'
_LOCK = '.lock'
_OURS = re.compile(r'part-\d{7}(-\d{5}\.npz|\.json)(\.unfinished)?')
_BYTES_AT_ONCE = 32 * 2**20


class PartsFolder:
    """Keeps the rows of complete parts until all are joined, so that a killed run continues.

    The rows of a part are in files of some megabytes each, `part-0000012-00000.npz`. `part-0000012.json` is written
    last, with the number of these and what is to be known of the files.

    Args:
        out: The output, beside which the folder is.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.path = Path(f'{out}.parts')

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs from writing the same output."""
        require_folder(self.out.parent, '--out')
        require_folder(self.path, '--out')
        with locked(self.path / _LOCK, self._refuse_second):
            try:
                yield
            finally:
                if self.path.is_dir() and os.listdir(self.path) == [_LOCK]:  # nothing was begun
                    shutil.rmtree(self.path, ignore_errors=True)

    def begin(self, settings: Mapping[str, Any], *, fresh: bool) -> None:
        """Refuses parts that were made with other settings; `fresh` removes them."""
        earlier = self._read_settings()
        if earlier is not None and not fresh and earlier != dict(settings):
            names = sorted({*earlier, *settings})
            differs = [name for name in names if earlier.get(name) != settings.get(name)]
            what = ', '.join(
                f'`{n}` was {earlier.get(n)!r} and is {settings.get(n)!r}' for n in differs
            )
            raise DataError(
                f'{str(self.path)!r} holds parts of a run with other settings: {what}. Repeat its command, name '
                'another `--out`, or start over with `--fresh`.'
            )
        if earlier is None or fresh:
            self._clear()
            with self.errors_named(), whole_file(self.path / PLAN_FILE) as file:
                file.write(json.dumps(settings, indent=1).encode() + b'\n')

    def is_done(self, number: int) -> bool:
        """Returns whether a part is complete."""
        return self._summary_of(number).exists()

    def summary(self, number: int) -> dict[str, Any]:
        """Returns what `PartWriter.finish` wrote of a complete part."""
        try:
            return json.loads(self._summary_of(number).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"Can't read a part of the features: {error}. Start over with `--fresh`."
            ) from error

    def pieces(self, number: int) -> Iterator[Any]:
        """Yields the arrays of a complete part, piece by piece: number (of the file), frames, times, feature."""
        for piece in range(self.summary(number)['num_pieces']):
            path = self.piece(number, piece)
            try:
                with np.load(path) as arrays:
                    yield arrays
            except (OSError, ValueError) as error:
                raise DataError(
                    f"Can't read the part {str(path)!r}: {error}. Start over with `--fresh`."
                ) from error

    def piece(self, number: int, piece: int) -> Path:
        """Returns the path of some rows of a part."""
        return self.path / f'part-{number:07d}-{piece:05d}.npz'

    def write_summary(self, number: int, summary: Mapping[str, Any]) -> None:
        """Marks a part as complete."""
        with self.errors_named(), whole_file(self._summary_of(number)) as file:
            file.write(json.dumps(summary).encode())

    def remove(self) -> None:
        """Removes the folder, once the output is complete."""
        self._clear()
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turns errors of writing, such as a full disk, into one message."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"Can't write features to {str(self.path)!r}: {why_unwritten(error)}. Complete parts are kept: "
                'once this is fixed, the same command continues after them.'
            ) from error

    def _summary_of(self, number: int) -> Path:
        return self.path / f'part-{number:07d}.json'

    def _read_settings(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / PLAN_FILE).read_bytes())
        except FileNotFoundError:
            foreign = [
                p.name
                for p in self.path.iterdir()
                if not _OURS.fullmatch(p.name) and p.name != _LOCK
            ]
            if foreign:
                raise DataError(
                    f'{str(self.path)!r} holds something else, such as {foreign[0]!r}. Nothing was changed. Name '
                    'another `--out`.'
                ) from None
            return None
        except ValueError:
            return {}

    def _clear(self) -> None:
        """Removes what runs have left; the plan last, which says whose it is."""
        for path in self.path.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
        (self.path / PLAN_FILE).unlink(missing_ok=True)

    def _refuse_second(self) -> None:
        raise DataError(
            f'Another process is writing {str(self.out)!r}. Let it finish, or name another `--out`.'
        )


class PartWriter:
    """Writes the rows of a part.

    Args:
        folder: Where they go.
        part: The part.
        num_frames: Most frames that a row has. Rows with fewer are filled up by -1, and their times by NaN.
    """

    def __init__(self, folder: PartsFolder, part: Part, num_frames: int) -> None:
        self.folder, self.part, self.num_frames = folder, part, num_frames
        self.bad: dict[int, str] = {}
        self.notes: dict[int, str] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._num_waiting = self._num_rows = self._num_pieces = 0

    def add(self, row: FeatureRow) -> None:
        """Adds a row, whose source is the number of its file."""
        if not self._arrays:
            self._arrays = self._new_arrays(tuple(row.feature.shape))
        arrays, place = self._arrays, self._num_waiting
        # Copied: small tensors, each between large ones that come and go, would scatter over the memory.
        arrays['number'][place] = row.source
        arrays['frames'][place, : len(row.frames)] = row.frames
        arrays['times'][place, : len(row.times)] = row.times
        arrays['feature'][place] = row.feature.numpy()
        self._num_waiting += 1
        if self._num_waiting == len(arrays['number']):
            self._flush()

    def _new_arrays(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        num_bytes = 4 * int(np.prod(shape)) + 12 * self.num_frames + 8
        num_rows = max(1, _BYTES_AT_ONCE // num_bytes)
        return dict(
            number=np.empty(num_rows, np.int64),
            frames=np.full((num_rows, self.num_frames), -1, np.int32),
            times=np.full((num_rows, self.num_frames), np.nan),
            feature=np.empty((num_rows, *shape), np.float32),
        )

    def finish(self) -> dict[str, Any]:
        """Writes the last rows and marks the part as complete. Returns its summary."""
        self._flush()
        summary = dict(
            num_pieces=self._num_pieces, num_rows=self._num_rows, bad=self.bad, notes=self.notes
        )
        self.folder.write_summary(self.part.number, summary)
        return summary

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        path = self.folder.piece(self.part.number, self._num_pieces)
        arrays: dict[str, Any] = {
            name: array[: self._num_waiting] for name, array in self._arrays.items()
        }
        with self.folder.errors_named(), whole_file(path) as file:
            np.savez(file, **arrays)
        self._num_pieces += 1
        self._num_rows += self._num_waiting
        self._num_waiting, self._arrays = 0, {}
