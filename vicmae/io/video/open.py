# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .reader import READERS, VideoReader, require_reader


def open_video(
    source: str | bytes | VideoReader, reader: str = 'auto', name: str | None = None
) -> VideoReader:
    """Opens a video.

    Args:
        source: Path, the bytes of a file, or an open reader, which is returned unchanged.
        reader: One of `READERS`. 'auto' tries the others in this order, also for single frames. PyAV comes first: it
            indexes the frames anyway, and skips those that aren't needed.
        name: Its name in messages, if `source` is bytes.
    """
    if isinstance(source, VideoReader):
        return source
    require_reader(reader)
    # Imported here: it imports PyAV, which training from shards of images doesn't need.
    from ._video_file import VideoFile

    if name is None:
        name = source if isinstance(source, str) else f'{len(source)} bytes'
    return VideoFile(source, name, READERS[1:] if reader == 'auto' else (reader,))


def seconds_of(path: str) -> float:
    """Reads the duration that a video's container states, without reading the file; 0 if it states none.

    It may be wrong. `VideoReader.duration` is that of the frames.
    """
    from ._pyav import stated_seconds

    return stated_seconds(path)
