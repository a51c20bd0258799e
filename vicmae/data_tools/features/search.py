# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds the rows of a file of features that are nearest to pictures, videos or other rows. Q queries, D width."""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vicmae.apis.features import FeatureExtractor
from vicmae.environment import pip
from vicmae.errors import CheckpointError, ConfigError, DataError, EnvironmentFault
from vicmae.evaluation.feature_cache import hash_weights

from .files import FeatureFile, Origins, open_features

_HEADER = ('query', 'rank', 'similarity', 'row', 'from', 'to', 'path')


class Place(NamedTuple):
    """What a row, or a query, shows.

    Attributes:
        path: Its file.
        frames: Numbers of its frames.
        times: When they are shown, in seconds; empty if that isn't known.
        row: Number of the row; None for a file that was given as a query.
        similarity: Cosine similarity of its feature with that of the query.
    """

    path: str
    frames: tuple[int, ...]
    times: tuple[float, ...]
    row: int | None = None
    similarity: float = 1.0


class Found(NamedTuple):
    """A query and the rows nearest to it, nearest first."""

    query: Place
    hits: list[Place]


def search(
    features: str | Path,
    queries: Sequence[str],
    *,
    top: int = 10,
    other_files: bool = False,
    checkpoint: str | None = None,
    config: Any = None,
    device: str | None = None,
    with_faiss: bool = False,
) -> list[Found]:
    """Finds the rows with the highest cosine similarity to each query, exactly.

    Args:
        features: A file of `vicmae features`, with one vector for each row.
        queries: Images and videos, or numbers of rows of the file, from 0. A video is encoded as a whole. A row doesn't
            find itself.
        top: Number of rows to find for each query.
        other_files: Whether to leave out rows of the query's own file.
        checkpoint: Weights that encode queries that are files; None for those that made the features.
        config: The config of the checkpoint; None for the one that it stores.
        device: Device of the model; None for a GPU if there is one.
        with_faiss: Whether faiss computes the similarities, also exactly, with all features in memory.
    """
    if top < 1:
        raise ConfigError(f'`--top` must be at least 1, got {top}.')
    file = open_features(features)
    if len(file.shape) != 1:
        raise DataError(
            f'{str(features)!r} has the features of patches, and search compares one vector for each row. Make a file '
            'without `--dense`.'
        )
    origins = file.origins()
    vectors, places = _query_vectors(file, origins, queries, checkpoint, config, device)
    excluded = [_excluded(place, origins, other_files) for place in places]
    find = _find_with_faiss if with_faiss else find_nearest
    found = find(file.blocks(), vectors, top, excluded)
    return [
        Found(
            place,
            [_place_of(origins, int(row), float(value)) for row, value in zip(*hits, strict=True)],
        )
        for place, hits in zip(places, found, strict=True)
    ]


def find_nearest(
    blocks: Iterable[np.ndarray],
    queries: np.ndarray,
    top: int,
    excluded: Sequence[np.ndarray],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Finds the rows with the highest cosine similarity, of equal ones the first.

    Args:
        blocks: Features of some rows after the other, (n, D).
        queries: (Q, D)
        top: Number of rows to find.
        excluded: For each query, numbers of rows that it doesn't find, ascending.

    Returns:
        For each query, numbers of rows and their similarities, at most `top`.
    """
    queries = _normalized(queries)
    best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    start = 0
    for block in blocks:
        similarities = queries @ _normalized(block).T  # (Q, n)
        rows = np.arange(start, start + len(block))
        for number, values in enumerate(similarities):
            first, end = np.searchsorted(excluded[number], (start, start + len(block)))
            values[excluded[number][first:end] - start] = -np.inf
            all_rows = np.concatenate([best[number][0], rows])
            all_values = np.concatenate([best[number][1], values])
            order = np.argsort(-all_values, kind='stable')[:top]
            order = order[all_values[order] > -np.inf]
            best[number] = all_rows[order], all_values[order]
        start += len(block)
    return best


def _find_with_faiss(
    blocks: Iterable[np.ndarray], queries: np.ndarray, top: int, excluded: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        faiss: Any = import_module('faiss')  # whichever distribution has it
    except ImportError as error:
        raise EnvironmentFault(
            f'`--faiss` needs faiss: {pip("install", "faiss-cpu")}. Without the option, the result is the same.'
        ) from error
    index = faiss.IndexFlatIP(queries.shape[1])
    for block in blocks:
        index.add(_normalized(block))
    most = min(index.ntotal, top + max(map(len, excluded), default=0))
    values, rows = index.search(_normalized(queries), most)
    kept = [~np.isin(row, out) for row, out in zip(rows, excluded, strict=True)]
    return [(r[k][:top], v[k][:top]) for r, v, k in zip(rows, values, kept, strict=True)]


def _normalized(features: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)


def _query_vectors(
    file: FeatureFile,
    origins: Origins,
    queries: Sequence[str],
    checkpoint: str | None,
    config: Any,
    device: str | None,
) -> tuple[np.ndarray, list[Place]]:
    """Returns the features (Q, D) and origins of queries."""
    numbers = {query: int(query) for query in queries if query.isdecimal()}
    for query, number in numbers.items():
        if number >= file.num_rows:
            raise DataError(
                f'{file.path!r} has {file.num_rows:,} rows, numbered from 0, got row {query}. A file of this name is '
                f'./{query}.'
            )
    vectors = _rows_of(file, set(numbers.values()))
    places = {query: _place_of(origins, number) for query, number in numbers.items()}
    known = {query: vectors[number] for query, number in numbers.items()}
    paths = [query for query in queries if query not in numbers]
    if paths:
        extractor = _extractor(file, checkpoint, config, device)
        for query in paths:
            row = next(extractor.rows([query]))
            known[query] = row.feature.numpy()
            places[query] = Place(query, row.frames, row.times)
    return np.stack([known[query] for query in queries]), [places[query] for query in queries]


def _rows_of(file: FeatureFile, numbers: set[int]) -> dict[int, np.ndarray]:
    """Reads the features of some rows."""
    found: dict[int, np.ndarray] = {}
    start = 0
    for block in file.blocks() if numbers else ():
        found |= {n: block[n - start] for n in numbers if start <= n < start + len(block)}
        start += len(block)
    return found


def _extractor(
    file: FeatureFile, checkpoint: str | None, config: Any, device: str | None
) -> FeatureExtractor:
    """Builds the model that made the features."""
    path = checkpoint or file.settings['checkpoint']
    if not Path(path).is_file():
        raise CheckpointError(
            f'The checkpoint {path!r}, which made the features in {file.path!r}, does not exist here. Name it: '
            '`--checkpoint FILE`.'
        )
    extractor = FeatureExtractor(
        path, config, device=device, num_frames=file.settings['num_frames']
    )
    if hash_weights(extractor.model.state_dict()) != file.settings['weights']:
        raise CheckpointError(
            f'The features in {file.path!r} are of other weights than {path!r}: their similarity means nothing. Name '
            'the checkpoint that made them: `--checkpoint FILE`.'
        )
    return extractor


def _excluded(place: Place, origins: Origins, other_files: bool) -> np.ndarray:
    if other_files:
        return np.flatnonzero(origins.paths == place.path)
    return np.array([] if place.row is None else [place.row], dtype=np.int64)


def _place_of(origins: Origins, row: int, similarity: float = 1.0) -> Place:
    frames, times = origins.frames[row], origins.times[row]
    return Place(
        str(origins.paths[row]),
        tuple(frames[frames >= 0].tolist()),
        tuple(times[~np.isnan(times)].tolist()),
        row,
        similarity,
    )


def found_text(found: Iterable[Found]) -> Iterator[str]:
    """Yields lines with columns separated by tabs, for scripts; the first has their names."""
    yield '\t'.join(_HEADER)
    for query, hits in found:
        name = query.path if query.row is None else str(query.row)
        for rank, hit in enumerate(hits, start=1):
            span = (f'{hit.times[0]:.3f}', f'{hit.times[-1]:.3f}') if hit.times else ('', '')
            yield '\t'.join(
                [name, str(rank), f'{hit.similarity:.4f}', str(hit.row), *span, hit.path]
            )
