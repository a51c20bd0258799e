# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from vicmae.errors import DataError
from vicmae.io.video import FrameSequence
from vicmae.registry import DATASETS
from vicmae.structures import NO_LABEL

from .catalogue import Catalogue
from .file_source import FileSource
from .found_files import FoundFiles, is_a_folder, scan
from .gap_fit import require_gap_fits
from .image_folder import ImageFolder
from .list_file import ListedSamples


@DATASETS.register_module()
class FrameFolder(FileSource):
    """Videos as folders of frames, images in the order of the numbers in their names.

    Without `ann_file`, each folder below `data_root` with images in it is a video: if none is in `data_root` itself,
    the first level of folders are the classes. A frame gap that is longer than any video is a DataError.

    Args:
        data_root: Folder of the videos.
        ann_file: List file with lines `path`, `path label` or, as in mmaction2, `path num_frames label`: a folder
            relative to `data_root`, of which the first `num_frames` count. Its own path is relative to it, too. Names
            of classes need a CSV file with a header `path,num_frames,label`, of which only `path` is required.
        fps: Frames per second.
        pattern: Selects the frames among the images of a folder: 'img_*'.
        kwargs: Further arguments of `CatalogueSource`: `with_labels`, `max_per_class`, `pipeline`,
            `visits_per_opening`, `tags`.
    """

    kind = 'video'

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        *,
        fps: float,
        pattern: str = '*',
        **kwargs: Any,
    ) -> None:
        if not 0 < fps < float('inf'):
            raise ValueError(f'`fps` must be a positive number, got {fps}.')
        self.fps = fps
        self.pattern = pattern
        super().__init__(data_root, ann_file, **kwargs)
        require_gap_fits(self)

    def get_data_info(self, index: int) -> dict[str, Any]:
        info = super().get_data_info(index)
        num_frames = info.pop('num_frames', None)
        return {**info, 'media': self._open(info['path'], num_frames)}

    def _catalogue(self) -> Catalogue:
        if self.ann_file:
            return ListedSamples(self.ann_file, self.data_root, read_line)
        videos = FoundFiles(self.data_root, self._find_videos('', set()))
        if not len(videos):
            raise DataError(
                f'No videos under {self.data_root!r}: looked for folders with images {self.pattern!r} in them. '
                'Give the folder that holds the folders of frames.'
            )
        return videos

    def _find_videos(
        self, folder: str, seen: set[tuple[int, int]]
    ) -> Iterator[tuple[str, list[str]]]:
        subfolders = []
        for entry in scan(self.data_root, folder, seen):
            if is_a_folder(entry):
                subfolders.append(entry.name)
            elif folder and self._is_frame(entry.name):
                parent, name = os.path.split(folder)
                yield parent, [name]
                return  # the other frames are found when it is opened
        for name in sorted(subfolders):
            yield from self._find_videos(os.path.join(folder, name), seen)

    def _open(self, path: str, num_frames: int | None) -> FrameSequence:
        try:
            names = sorted(filter(self._is_frame, os.listdir(path)), key=_by_numbers)
        except OSError as error:
            raise DataError(f"Can't read the folder {path!r}: {error.strerror}.") from error
        wanted = len(names) if num_frames is None else num_frames
        if len(names) < max(wanted, 1):
            listed = '' if num_frames is None else f', but its list says {num_frames}'
            raise DataError(
                f'The folder {path!r} has {len(names)} frames (images {self.pattern!r}){listed}.'
            )
        return FrameSequence(lambda i: os.path.join(path, names[i]), wanted, self.fps, path)

    def _is_frame(self, name: str) -> bool:
        return (
            not name.startswith('.')
            and name.lower().endswith(ImageFolder.extensions)
            and fnmatchcase(name, self.pattern)
        )


def read_line(line: str) -> dict[str, Any]:
    """Reads a line `path`, `path label` or `path num_frames label`."""
    path = line
    numbers: list[int] = []
    while len(numbers) < 2 and (match := re.fullmatch(r'(.*\S)\s+(\d+)', path)):
        path = match[1]
        numbers.insert(0, int(match[2]))
    sample = dict(path=path, gt_label=numbers[-1] if numbers else NO_LABEL)
    return sample | (dict(num_frames=numbers[0]) if len(numbers) == 2 else {})


def _by_numbers(name: str) -> tuple[list[str | int], str]:
    """Sort key of names by the numbers in them: 'frame9' before 'frame10'."""
    parts = re.split(r'(\d+)', name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
