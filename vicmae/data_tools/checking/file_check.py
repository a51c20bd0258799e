# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads a file to its end as training may come to do, and says whether that works. T frames, H W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vicmae.datasets.sources.file_source import FileSource
from vicmae.datasets.sources.image_folder import ImageFolder
from vicmae.datasets.sources.video_folder import VideoFolder
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import VideoReader, open_video
from vicmae.utils.isolated_pool import restart_deadline

SOURCES: dict[str, type[FileSource]] = {
    source.kind: source for source in (ImageFolder, VideoFolder)
}
KINDS = tuple(SOURCES)
_FRAMES_AT_ONCE = 32
_BYTES_AT_ONCE = 64 * 2**20


class Verdict(NamedTuple):
    """The result of checking a file.

    Attributes:
        file: Its path.
        kind: 'image' or 'video', as which it was read.
        ok: Whether training can use it.
        frames: How many can be decoded, 1 for an image; None where it isn't ok, as are the next two.
        width: Of a frame as it is delivered, upright, in pixels.
        height: The same.
        error: Why it isn't ok, else None.
        note: What is to be known of one that is ok, such as that a part of it can't be decoded; None if nothing.
        size: Of the file in bytes when it was checked; None where there was none.
        mtime: When the file had been changed last, in seconds since 1970.
        quick: Whether only three frames of a video were decoded.
    """

    file: str
    kind: str
    ok: bool
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None
    note: str | None = None
    size: int | None = None
    mtime: float | None = None
    quick: bool | None = None


@dataclass(frozen=True)
class FileCheck:
    """Checks a file by the rules of training: an image has to be read whole, of a video at least one frame.

    Args:
        kind: 'image' or 'video', as which files are read. None goes by their extension; what has an unknown one is
            read as the first of these that works.
        quick: Whether to decode only the first, the middle and the last frame of a video. The others are taken to be
            there.
    """

    kind: str | None = None
    quick: bool = False

    def __call__(self, path: str) -> Verdict:
        kind = self.kind_of(path)
        if kind:
            return self._check(path, kind)
        verdicts = [self._check(path, kind) for kind in KINDS]
        good = [verdict for verdict in verdicts if verdict.ok]
        error = ' '.join(verdict.error or '' for verdict in verdicts)
        return good[0] if good else verdicts[0]._replace(error=error)

    def kind_of(self, path: str) -> str | None:
        """As what a file is read; None where that depends on what is in it."""
        return self.kind or kind_by_extension(path)

    def _check(self, path: str, kind: str) -> Verdict:
        try:
            return _read_image(path) if kind == 'image' else self._read_video(path)
        except DataError as error:
            return Verdict(path, kind, ok=False, error=str(error))

    def _read_video(self, path: str) -> Verdict:
        with open_video(path) as video:
            found = DecodableFrames(video)
            tried = video.num_frames
            if self.quick:
                numbers = sorted({0, video.num_frames // 2, video.num_frames - 1})
                tried = len(numbers)
                for number in numbers:
                    found.attempt([number])
            else:
                found.attempt_all()
            height, width = found.require_size(path)
            note = None
            if found.count < tried:
                what = 'frames that were tried' if self.quick else 'frames'
                note = f'{found.count} of {tried} {what} can be decoded'
            frames = video.num_frames if self.quick else found.count
            return Verdict(path, 'video', True, frames, width, height, note=note)


def kind_by_extension(path: str) -> str | None:
    """'image' or 'video', whose source would take a file of this name; None if neither does."""
    name = path.lower()
    return next((kind for kind in KINDS if name.endswith(SOURCES[kind].extensions)), None)


def _read_image(path: str) -> Verdict:
    height, width, _ = EncodedImage(path).decode().shape
    return Verdict(path, 'image', True, 1, width, height)


class DecodableFrames:
    """Counts the frames of a video that can be decoded."""

    def __init__(self, video: VideoReader) -> None:
        self.count = 0
        self._video = video
        self._size: tuple[int, int] | None = None
        self._first_error: DataError | None = None

    def attempt(self, ids: Sequence[int]) -> bool:
        """Decodes some frames together; says whether that works."""
        restart_deadline()  # it is for a decoder that hangs, not for a video that is long
        try:
            frames = self._video.frames(list(ids))
        except DataError as error:
            self._first_error = self._first_error or error
            return False
        self.count += len(frames)
        height, width, _ = frames[0].shape
        self._size = self._size or (height, width)
        return True

    def attempt_all(self) -> None:
        """Decodes all frames, but for those behind the place where a long file ends early."""
        num_frames = self._video.num_frames
        failed = False  # whether not one of the last frames could be decoded
        for start in range(0, num_frames, _FRAMES_AT_ONCE):
            ids = range(start, min(start + _FRAMES_AT_ONCE, num_frames))
            before = self.count
            if not failed:
                self._attempt_each(ids)
            elif self.attempt(ids[:1]):  # it stands for the others
                self._attempt_each(ids[1:])
            failed = self.count == before

    def _attempt_each(self, ids: range) -> None:
        """Decodes frames together, as many as memory allows, or one by one where that fails."""
        while ids:
            length = self._affordable_length()
            together, ids = ids[:length], ids[length:]
            if not self.attempt(together) and len(together) > 1:
                for number in together:
                    self.attempt([number])

    def _affordable_length(self) -> int:
        if self._size is None:
            return 1
        height, width = self._size
        return max(1, _BYTES_AT_ONCE // (3 * height * width))

    def require_size(self, path: str) -> tuple[int, int]:
        """Returns height and width of the frames; DataError if there is none."""
        if self._size is None:
            raise DataError(
                f'None of the {self._video.num_frames} frames of the video {path!r} can be decoded. '
                f'The first attempt: {self._first_error}'
            )
        return self._size
