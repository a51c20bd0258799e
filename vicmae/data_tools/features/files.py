# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files of features, .parquet or .npz: written from parts without all of them in memory, and read. S rows."""

import json
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from vicmae.environment import pip
from vicmae.errors import DataError, EnvironmentFault
from vicmae.utils.files import whole_file

from .folder import PartsFolder
from .plan import Plan

SUFFIXES = ('.parquet', '.npz')
_ROWS_AT_ONCE = 8192
_BYTES_AT_ONCE = 64 * 2**20
_KEY = b'vicmae'  # of the settings in the metadata of a Parquet file


class Origins(NamedTuple):
    """Where the rows of a file of features come from.

    Attributes:
        paths: Path of each row, (S,).
        frames: Numbers of its frames, (S, n), -1 where a row has fewer.
        times: When they are shown, (S, n), in seconds after the first frame, NaN where that isn't known.
    """

    paths: np.ndarray
    frames: np.ndarray
    times: np.ndarray


class StoredFeatures(NamedTuple):
    """A file of features in memory.

    Attributes:
        paths: See `Origins`, also for what follows.
        frames: Numbers of the frames.
        times: When they are shown.
        features: (S, D), or (S, h, w, D) of patches, float32.
        settings: How they were made.
    """

    paths: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    features: np.ndarray
    settings: dict[str, Any]


def require_suffix(path: str | Path) -> str:
    """Returns the suffix of a file of features; refuses others, and .parquet without pyarrow."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f'A file of features ends in {" or ".join(SUFFIXES)}, got {str(path)!r}.')
    if suffix == '.parquet':
        _pyarrow()
    return suffix


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise EnvironmentFault(
            f'.parquet files need pyarrow: {pip("install", "pyarrow")}. Or write .npz.'
        ) from error
    return pyarrow, parquet


def join_parts(plan: Plan, folder: PartsFolder, settings: Mapping[str, Any]) -> None:
    """Writes the output from all parts, whole or not at all. It doesn't depend on who made them."""
    out = folder.out
    write = _write_parquet if require_suffix(out) == '.parquet' else _write_npz
    with folder.errors_named(), whole_file(out) as file:
        write(file, plan, folder, dict(settings))


def _pieces(plan: Plan, folder: PartsFolder) -> Iterator[Any]:
    for number in range(len(plan)):
        yield from folder.pieces(number)


def _path_of(plan: Plan, number: int) -> str:
    """Returns a path as text, also one that isn't Unicode."""
    return os.fsencode(plan.files[number]).decode('utf-8', 'backslashreplace')


# ------------------------------------------------------------------------- Parquet
def _write_parquet(
    file: BinaryIO, plan: Plan, folder: PartsFolder, settings: dict[str, Any]
) -> None:
    pa, pq = _pyarrow()
    writer: Any = None
    waiting: list[Any] = []
    num_bytes = 0

    def flush() -> None:
        nonlocal waiting, num_bytes
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
        waiting, num_bytes = [], 0

    for arrays in _pieces(plan, folder):
        table = _table_of(pa, plan, arrays, settings)
        if writer is None:
            writer = pq.ParquetWriter(file, table.schema, use_dictionary=['path'])
        for start in range(0, len(table), _ROWS_AT_ONCE):
            part = table.slice(start, _ROWS_AT_ONCE)
            waiting.append(part)
            num_bytes += part.nbytes
            if num_bytes >= _BYTES_AT_ONCE or sum(map(len, waiting)) >= _ROWS_AT_ONCE:
                flush()
    if writer is not None:
        flush()
        writer.close()


def _table_of(pa: Any, plan: Plan, arrays: Any, settings: dict[str, Any]) -> Any:
    frames, times, feature = arrays['frames'], arrays['times'], arrays['feature']
    shape = feature.shape[1:]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(feature.ravel()), int(np.prod(shape)))
    columns = dict(
        path=pa.array([_path_of(plan, int(n)) for n in arrays['number']], pa.string()),
        frames=_lists(pa, frames, frames >= 0),
        times=_lists(pa, times, ~np.isnan(times)),
        feature=flat,
    )
    metadata = {_KEY: json.dumps(dict(settings, feature_shape=shape))}
    return pa.table(columns).replace_schema_metadata(metadata)


def _lists(pa: Any, values: np.ndarray, valid: np.ndarray) -> Any:
    """Returns the valid values of each row as lists."""
    offsets = np.concatenate([[0], valid.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values[valid]))


# ------------------------------------------------------------------------- NumPy
def _write_npz(file: BinaryIO, plan: Plan, folder: PartsFolder, settings: dict[str, Any]) -> None:
    """Writes the arrays one after the other, each from all parts."""
    num_rows, longest, shape, width = 0, 1, (0,), 1
    for arrays in _pieces(plan, folder):
        numbers = arrays['number']
        num_rows += len(numbers)
        longest = max(longest, *(len(_path_of(plan, int(n))) for n in np.unique(numbers)))
        shape, width = arrays['feature'].shape[1:], arrays['frames'].shape[1]

    def paths() -> Iterator[np.ndarray]:
        for arrays in _pieces(plan, folder):
            yield np.array([_path_of(plan, int(n)) for n in arrays['number']])

    def named(name: str) -> Iterator[np.ndarray]:
        return (arrays[name] for arrays in _pieces(plan, folder))

    with zipfile.ZipFile(file, 'w') as target:
        _write_array(target, 'path', np.dtype(f'<U{longest}'), (num_rows,), paths())
        _write_array(target, 'frames', np.dtype('<i4'), (num_rows, width), named('frames'))
        _write_array(target, 'times', np.dtype('<f8'), (num_rows, width), named('times'))
        _write_array(target, 'feature', np.dtype('<f4'), (num_rows, *shape), named('feature'))
        text = np.array(json.dumps(settings))
        _write_array(target, 'settings', text.dtype, (), iter([text]))


def _write_array(
    target: zipfile.ZipFile,
    name: str,
    dtype: np.dtype,
    shape: Sequence[int],
    parts: Iterator[np.ndarray],
) -> None:
    # `ZipInfo` has a fixed date, so that equal features make equal files.
    with target.open(zipfile.ZipInfo(f'{name}.npy'), 'w', force_zip64=True) as member:
        header = dict(
            descr=np.lib.format.dtype_to_descr(dtype), fortran_order=False, shape=tuple(shape)
        )
        np.lib.format.write_array_header_2_0(member, header)
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype).tobytes())


# ------------------------------------------------------------------------- reading
class FeatureFile(ABC):
    """A file of features that is read in blocks.

    Attributes:
        path: Its path.
        settings: How the features were made.
        shape: Shape of a feature: (D,), or (h, w, D) of patches.
        num_rows: Number of features, S.
    """

    path: str
    settings: dict[str, Any]
    shape: tuple[int, ...]
    num_rows: int

    @abstractmethod
    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the features of some rows after the other, (n, ...), float32."""

    @abstractmethod
    def origins(self) -> Origins:
        """Reads where all rows come from."""


def open_features(path: str | Path) -> FeatureFile:
    """Opens a file that `vicmae features` wrote."""
    suffix = require_suffix(path)
    if not os.path.isfile(path):
        raise DataError(f'There is no file {str(path)!r}. `vicmae features` makes one.')
    try:
        return (_ParquetFile if suffix == '.parquet' else _NpzFile)(str(path))
    except KeyError as error:
        raise DataError(
            f'{str(path)!r} is no file of `vicmae features`: it has no {error.args[0]!r}.'
        ) from error
    # pyarrow raises classes of its own for a file that isn't Parquet; they are ValueErrors or OSErrors.
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"Can't read the features in {str(path)!r}: {error}") from error


def read_features(path: str | Path) -> StoredFeatures:
    """Reads a file that `vicmae features` wrote.

    Example:
        >>> stored = read_features('clips.parquet')  # doctest: +SKIP
        >>> stored.features.shape  # doctest: +SKIP
        (1200, 768)
    """
    file = open_features(path)
    return StoredFeatures(*file.origins(), np.concatenate(list(file.blocks())), file.settings)


class _ParquetFile(FeatureFile):
    def __init__(self, path: str) -> None:
        _, parquet = _pyarrow()
        self.path = path
        self._file = parquet.ParquetFile(path)
        self.settings = json.loads((self._file.schema_arrow.metadata or {})[_KEY])
        self.shape = tuple(self.settings.pop('feature_shape'))
        self.num_rows = self._file.metadata.num_rows

    def blocks(self) -> Iterator[np.ndarray]:
        for batch in self._file.iter_batches(_ROWS_AT_ONCE, columns=['feature']):
            yield batch['feature'].flatten().to_numpy().reshape(-1, *self.shape)

    def origins(self) -> Origins:
        table = self._file.read(columns=['path', 'frames', 'times'])
        return Origins(
            np.array(table['path'].to_pylist()),
            _as_matrix(table['frames'], -1, np.int32),
            _as_matrix(table['times'], np.nan, np.float64),
        )


def _as_matrix(column: Any, fill: Any, dtype: Any) -> np.ndarray:
    lists = column.combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    matrix = np.full((len(lengths), lengths.max(initial=0)), fill, dtype)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy()
    return matrix


class _NpzFile(FeatureFile):
    def __init__(self, path: str) -> None:
        self.path = path
        with np.load(path) as arrays:
            self.settings = json.loads(str(arrays['settings']))
        with self._opened() as (_, shape, _):
            self.num_rows, self.shape = shape[0], shape[1:]

    @contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, tuple[int, ...], np.dtype]]:
        """Opens the array of features behind its header."""
        with zipfile.ZipFile(self.path) as source, source.open('feature.npy') as member:
            np.lib.format.read_magic(member)
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
            yield cast(BinaryIO, member), shape, dtype

    def blocks(self) -> Iterator[np.ndarray]:
        with self._opened() as (member, shape, dtype):
            size = dtype.itemsize * int(np.prod(self.shape))
            while block := member.read(_ROWS_AT_ONCE * size):
                yield np.frombuffer(block, dtype).reshape(-1, *shape[1:])

    def origins(self) -> Origins:
        with np.load(self.path) as arrays:
            return Origins(arrays['path'], arrays['frames'], arrays['times'])
