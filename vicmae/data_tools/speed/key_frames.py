# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
from collections.abc import Sequence
from typing import Any

import av


def find_key_frames(media: Any, ids: Sequence[int]) -> tuple[float, int] | None:
    """Returns how far apart key frames lie, and how many frames are decoded for those that are wanted.

    Reads the packets of a path or bytes, without decoding them; None of all else, which has no key frames.
    """
    if not isinstance(media, str | bytes):
        return None
    try:
        with av.open(io.BytesIO(media) if isinstance(media, bytes) else media) as container:
            packets = [
                (p.pts, p.is_keyframe) for p in container.demux(video=0) if p.pts is not None
            ]
    except (av.FFmpegError, IndexError):  # readers know files that PyAV doesn't
        return None
    keys = [number for number, (_, is_key) in enumerate(sorted(packets)) if is_key]
    if not keys or keys[0] > min(ids):
        return None
    before = {wanted: max(key for key in keys if key <= wanted) for wanted in ids}
    decoded = {frame for wanted, key in before.items() for frame in range(key, wanted + 1)}
    return len(packets) / len(keys), len(decoded)
