# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which frames of a video can be decoded alone, and what that means for those that are wanted."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import av
import numpy as np


class KeyFrames(NamedTuple):
    """What the key frames of a video make of a sample.

    Attributes:
        interval: Frames from one key frame to the next, on average.
        decoded: How many frames have to be decoded for each visit's.
    """

    interval: float
    decoded: float


def find_key_frames(media: Any, ids: Sequence[int], num_visits: int) -> KeyFrames | None:
    """Reads the packets of a video, without decoding them.

    Args:
        media: Path or bytes of a file; None is returned for all else, which has no key frames.
        ids: The frames that are wanted from one opening, in order.
        num_visits: How many samples they are for.
    """
    if not isinstance(media, str | bytes):
        return None
    try:
        with av.open(io.BytesIO(media) if isinstance(media, bytes) else media) as container:
            packets = [
                (packet.pts, packet.is_keyframe)
                for packet in container.demux(video=0)
                if packet.pts is not None
            ]
    except (av.FFmpegError, IndexError):  # readers know files that PyAV doesn't
        return None
    keys = [number for number, (_, is_key) in enumerate(sorted(packets)) if is_key]
    if not keys or keys[0] > ids[0]:
        return None
    return KeyFrames(len(packets) / len(keys), _num_decoded(keys, ids) / num_visits)


def _num_decoded(keys: Sequence[int], ids: Sequence[int]) -> int:
    """How many frames are decoded from the nearest key frame on, or from the frame that was wanted before."""
    decoded, done = 0, -1  # the last frame that was decoded
    for wanted in ids:
        key = keys[int(np.searchsorted(keys, wanted, side='right')) - 1]
        decoded += wanted - max(key - 1, done)
        done = wanted
    return decoded
