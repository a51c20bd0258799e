# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .reader import READERS, VideoReader, require_reader


def open_video(
    source: str | bytes | VideoReader, reader: str = 'auto', name: str | None = None
) -> VideoReader:
    """Opens a video.

    Args:
        source: Path, the bytes of a file, or an open reader, which is returned as it is.
        reader: One of `READERS`. 'auto' asks the others in this order, and continues with the next where one doesn't
            read the file or a frame. PyAV comes first: it opens the file anyway to index its frames, and skips
            frames that no wanted one needs.
        name: What messages call it, where `source` is bytes.
    """
    if isinstance(source, VideoReader):
        return source
    require_reader(reader)
    from ._video_file import VideoFile  # imports PyAV, which training from shards does without

    if name is None:
        name = source if isinstance(source, str) else f'{len(source)} bytes'
    return VideoFile(source, name, READERS[1:] if reader == 'auto' else (reader,))
