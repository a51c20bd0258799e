# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which frames a video has, learnt from its packets without decoding them. T frames, P packets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FrameIndex:
    """When each frame is shown, and where decoding can begin.

    Attributes:
        times: When the frames are shown, ascending, in ticks: (T,), int64.
        tick: Seconds.
        keys: When the frames are shown at which decoding can begin, ascending, in ticks: (K,), int64.
        is_plain: Whether each packet shows one frame, and each key frame parts all that is shown and stored before
            it from all that comes after it.
        in_order: Whether the times are no use to find a frame, which has to be counted from the beginning.
    """

    times: np.ndarray
    tick: float
    keys: np.ndarray
    is_plain: bool = False
    in_order: bool = False

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return len(self.times)

    @property
    def seconds(self) -> np.ndarray:
        """When the frames are shown, in seconds of the file's own clock: (T,)."""
        return self.times * self.tick

    @property
    def fps(self) -> float:
        """Frames per second, on average; 1 where there is but one frame."""
        if self.num_frames < 2:
            return 1.0
        return float((self.num_frames - 1) / ((self.times[-1] - self.times[0]) * self.tick))

    @property
    def is_steady(self) -> bool:
        """Whether all frames are shown equally long."""
        return np.ptp(np.diff(self.times)) == 0 if self.num_frames > 2 else True

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Numbers of the frames that are shown at these times, counted from the first frame's."""
        # Times are rounded to ticks in files, and to floats here: what is nearer than that is the same.
        ticks = np.asarray(seconds) / self.tick + min(0.5, 5e-4 / self.tick)
        ids = np.searchsorted(self.times - self.times[:1], np.floor(ticks), side='right') - 1
        return ids.clip(0, self.num_frames - 1).tolist()


def index_packets(packets: Iterable[Any], stream: Any) -> FrameIndex | None:
    """Makes the index of a stream, from all of its packets.

    What an edit list cuts away isn't counted, nor a packet that is cut short or never shown, nor what comes before
    the first key frame. None where packets don't say which frames there are: times are missing, occur twice or
    run backwards from one key frame to the next.

    Args:
        packets: PyAV's, in the order of the file.
        stream: Theirs.
    """
    codec = stream.codec_context
    looks = {'h264': _KeyFrames(codec.extradata), 'vp8': _vp8_is_shown, 'vp9': _vp9_is_shown}.get(codec.name)
