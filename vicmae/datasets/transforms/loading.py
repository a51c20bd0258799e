# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From files to frames. H W pixels."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps

from vicmae.errors import DataError
from vicmae.registry import TRANSFORMS

from ..video_io import open_video


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads an image as one RGB frame, turned upright.

    **Required keys:** path. **Added keys:** frames (one, (H, W, 3), uint8).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        path = results['path']
        try:
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image).convert('RGB')
        except (
            OSError,
            SyntaxError,
            ValueError,
            RuntimeError,
            Image.DecompressionBombError,
        ) as error:
            raise DataError(
                f"Can't read the image {path!r}: {error}. Take it out of the data, then go on with `--resume`."
            ) from error
        return {**results, 'frames': [np.array(upright)]}


@TRANSFORMS.register_module()
class OpenVideo(BaseTransform):
    """Opens a video, so that a frame sampler knows how long it is.

    **Required keys:** path. **Added keys:** reader, num_frames, fps.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        reader = open_video(results['path'])
        return {**results, 'reader': reader, 'num_frames': reader.num_frames, 'fps': reader.fps}


@TRANSFORMS.register_module()
class DecodeFrames(BaseTransform):
    """Decodes the frames that a sampler chose, and lets go of the file.

    **Required keys:** reader, frame_ids. **Added keys:** frames. **Removed keys:** reader.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        reader = results.pop('reader')
        return {**results, 'frames': reader.frames(results['frame_ids'])}
