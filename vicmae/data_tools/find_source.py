# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds out whether a path is a folder, a list or shards, and of images or of videos."""

import os

from vicmae.datasets.sources.catalogue import CatalogueSource
from vicmae.datasets.sources.found_files import walk
from vicmae.datasets.sources.frame_folder import FrameFolder
from vicmae.datasets.sources.list_file import ListRows
from vicmae.datasets.sources.shard_source import ImageShards, VideoShards
from vicmae.errors import ConfigError, DataError
from vicmae.io.shards.files import open_shards

from .checking.file_check import SOURCES, kind_by_extension

_MAX_LINES_LOOKED_AT = 1000


def find_source(
    place: str, kind: str | None = None, *, data_root: str = '', source_fps: float | None = None
) -> CatalogueSource:
    """Opens a folder of images, videos or tar shards, a list file, or shards that a pattern names.

    Args:
        place: The folder, list, or pattern.
        kind: 'image' or 'video', where there are both; None to look what there is.
        data_root: Folder that the paths in a list are relative to; its own without it.
        source_fps: Says that each folder with images in it is a video, with so many frames per second.
    """
    is_list = os.path.isfile(place) and not _kind_of(place)
    if data_root and not is_list:
        raise ConfigError(f'`data_root` is for the paths in a list file; {place!r} is none.')
    listed = dict(data_root=data_root or os.path.dirname(place), ann_file=os.path.abspath(place))
    where = listed if is_list else dict(data_root=place)
    if source_fps is not None:
        return FrameFolder(**where, fps=source_fps)
    found = _kinds_in_list(place) if is_list else _kinds_at(place)
    if found == {'shards'}:
        found = _kinds_in_shards(place)
        return (ImageShards if _choose(kind, found, place) == 'image' else VideoShards)(place)
    return SOURCES[_choose(kind, found - {'shards'}, place)](**where)


def _choose(kind: str | None, found: set[str], place: str) -> str:
    """Returns the kind that is asked for, or the only one that is there."""
    if kind:
        return kind
    if not found:
        raise DataError(f'There are no images, videos or tar shards in {place!r}.')
    if len(found) > 1:
        raise DataError(
            f'{place!r} has both images and videos. Say which are meant with `--kind image` or `--kind video`.'
        )
    return found.pop()


def _kind_of(name: str) -> str | None:
    return kind_by_extension(name) or ('shards' if name.endswith('.tar') else None)


def _kinds_at(place: str) -> set[str]:
    """Returns the kinds of files below a folder, or of those that a pattern names."""
    if os.path.isdir(place):
        return {kind for _, names in walk(place) for name in names if (kind := _kind_of(name))}
    if _kind_of(place) == 'shards':
        return {'shards'}
    raise DataError(
        f'There is no folder or list {place!r}. Paths are relative to where the command is run.'
    )


def _kinds_in_list(path: str) -> set[str]:
    rows = ListRows(path, lambda line: dict(path=line))
    beginning = (rows[number]['path'] for number in range(min(len(rows), _MAX_LINES_LOOKED_AT)))
    # With a label or without.
    words = ((line, line.replace('\t', ' ').rpartition(' ')[0].strip()) for line in beginning)
    return {kind for pair in words if (kind := _kind_of(pair[0]) or _kind_of(pair[1]))}


def _kinds_in_shards(place: str) -> set[str]:
    counts = [file.summary.counts for file in open_shards(place)]
    return {
        source.kind
        for source in (ImageShards, VideoShards)
        if any(count[name] for count in counts for name in source.kinds_in_shards)
    }
