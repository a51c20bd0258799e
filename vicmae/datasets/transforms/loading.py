# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads frames from files. H W pixels."""

from typing import Any

from vicmae.io.image import EncodedImage
from vicmae.io.video import open_video
from vicmae.io.video.reader import require_reader
from vicmae.registry import TRANSFORMS

from .base import FileTransform


@TRANSFORMS.register_module()
class LoadImage(FileTransform):
    """Reads an image as one upright RGB frame.

    **Required keys:** path. **Optional keys:** media (path, bytes). **Added keys:** frames (one, (H, W, 3), uint8).

    Args:
        lazy: Whether to return an `EncodedImage`, which `TwoViews` or `OneView` decodes at the size that they need.
    """

    def __init__(self, lazy: bool = False) -> None:
        self.lazy = lazy

    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = visits[0]
        image = EncodedImage(first.get('media', first['path']), name=first['path'])
        frames = [image if self.lazy else image.decode()]
        return [{**visit, 'frames': frames} for visit in visits]


@TRANSFORMS.register_module()
class OpenVideo(FileTransform):
    """Opens a video, so that a transform can sample frames from it.

    **Required keys:** path. **Optional keys:** media (path, bytes, an open reader).
    **Added keys:** reader, num_frames, fps.

    Args:
        reader: Reader, one of `READERS`. 'auto' uses the first that is installed and can read the file.
    """

    def __init__(self, reader: str = 'auto') -> None:
        require_reader(reader)
        self.reader = reader

    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = visits[0]
        reader = open_video(first.get('media', first['path']), self.reader, name=first['path'])
        opened = dict(reader=reader, num_frames=reader.num_frames, fps=reader.fps)
        return [{**visit, **opened} for visit in visits]


@TRANSFORMS.register_module()
class DecodeFrames(FileTransform):
    """Decodes the sampled frames and closes the file.

    **Required keys:** reader, frame_ids. **Added keys:** frames. **Removed keys:** reader.
    """

    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Decodes each frame once, ordered by time, for all visits to the file."""
        frame_ids = sorted({frame for visit in visits for frame in visit['frame_ids']})
        with visits[0]['reader'] as reader:
            decoded = dict(zip(frame_ids, reader.frames(frame_ids), strict=True))
        return [self._finish(visit, decoded) for visit in visits]

    def _finish(self, visit: dict[str, Any], decoded: dict[int, Any]) -> dict[str, Any]:
        items = {key: value for key, value in visit.items() if key != 'reader'}
        return {**items, 'frames': [decoded[frame] for frame in visit['frame_ids']]}
