# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Videos so small that a test can afford thousands of them."""

from pathlib import Path
from typing import Any

import av
import numpy as np


def write_clip(
    path: str | Path, num_frames: int = 4, *, side: int = 32, options: dict[str, str] | None = None
) -> None:
    """Writes a square MPEG-4 video whose frames are each of one gray, ever brighter.

    Args:
        path: Of the file, whose extension says the format.
        num_frames: Number of frames, 25 a second.
        side: Of a frame, in pixels.
        options: Of the encoder.
    """
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream('mpeg4', rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = side, side, 'yuv420p'
        for number in range(num_frames):
            gray = np.full((side, side, 3), 250 * number // num_frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format='rgb24')))
        container.mux(stream.encode())
