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
        rate: Frames per second, as the file says.
        is_plain: Whether each packet shows one frame, and each key frame parts all that is shown and stored before
            it from all that comes after it.
        in_order: Whether the times are no use to find a frame, which has to be counted from the beginning.
    """

    times: np.ndarray
    tick: float
    keys: np.ndarray
    rate: float
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
        """Frames per second, on average."""
        if self.num_frames < 2:
            return self.rate
        return float((self.num_frames - 1) / ((self.times[-1] - self.times[0]) * self.tick))

    @property
    def is_steady(self) -> bool:
        """Whether the frames are equally far apart, the first at time 0, so that a number tells the time."""
        step = int(self.times[-1] - self.times[0]) // max(self.num_frames - 1, 1)
        return bool((self.times == step * np.arange(self.num_frames)).all())

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Numbers of the frames that are shown at these times, counted from the first frame's."""
        # Times are rounded to ticks in files, and to floats here: what is nearer than that is the same.
        ticks = np.asarray(seconds) / self.tick + min(0.5, 5e-4 / self.tick)
        ids = np.searchsorted(self.times - self.times[:1], np.floor(ticks), side='right') - 1
        return ids.clip(0, self.num_frames - 1).tolist()


def index_packets(packets: Iterable[Any], stream: Any) -> FrameIndex | None:
    """Makes the index of a stream out of all its packets, in the order of the file.

    Not counted are packets that an edit list cuts away, that are cut short or never shown, and what comes before
    the first key frame. None where the packets don't say which frames there are: times are missing, occur twice
    or run backwards from one key frame to the next, or packets hold several frames (MPEG-4 in old AVI files).
    """
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata
    if _has_wrong_times(stream):
        return None
    is_hidden = _HIDDEN.get(codec)
    times, keys, shown, clean = [], [], [], True
    for packet in packets:  # some thousand times for a long video: no call that isn't needed
        if packet.size == 0:  # the end, or a frame that repeats the one before
            continue
        if codec == 'mpeg4' and bytes(packet).count(_MPEG4_FRAME) > 1:  # times are those of packets
            return None
        is_key = packet.is_keyframe
        lost = packet.is_discard or packet.is_corrupt
        times.append(packet.pts)
        keys.append(is_key)
        shown.append(not lost and not (is_hidden and is_hidden(memoryview(packet))))
        if is_key and codec == 'h264':
            clean = clean and _is_idr(memoryview(packet), extradata)
    if None in times:
        return None
    first = keys.index(True) if True in keys else 0  # the packets of some formats are never marked
    return _index(
        np.array(times[first:], dtype=np.int64),
        np.array(keys[first:], dtype=bool),
        np.array(shown[first:], dtype=bool),
        float(stream.time_base),
        rate_of(stream),
        is_plain=clean and first == 0,
    )


def _index(
    times: np.ndarray,
    is_key: np.ndarray,
    is_shown: np.ndarray,
    tick: float,
    rate: float,
    is_plain: bool,
) -> FrameIndex | None:
    """Makes the index from packets in the order of decoding, of which the first is a key frame: (P,) each."""
    is_key[:1] = True
    keys = np.flatnonzero(is_key)
    latest_before = np.maximum.accumulate(times)[keys[1:] - 1]
    earliest_after = np.minimum.accumulate(times[::-1])[::-1][keys]
    if (latest_before >= times[keys[1:]]).any():
        return None
    is_shown &= times >= times[:1]  # others need a frame before the first
    shown = np.unique(times[is_shown])
    if len(shown) < is_shown.sum():
        return None
    parted = (earliest_after >= times[keys]).all()
    is_plain = bool(is_plain and parted and is_shown.all())
    return FrameIndex(shown, tick, times[keys], rate, is_plain)


def rate_of(stream: Any) -> float:
    """Frames per second, as the file says or FFmpeg guesses."""
    return float(stream.guessed_rate or 25)


def _has_wrong_times(stream: Any) -> bool:
    """Whether the times of packets aren't those of the frames in them: AVI has none, so that FFmpeg makes them up."""
    codec = stream.codec_context
    reorders = codec.name in ('h264', 'hevc') and codec.has_b_frames
    return stream.container.format.name == 'avi' and reorders


def _vp8_is_hidden(data: memoryview) -> bool:
    return not data[0] & 0x10


def _vp9_is_hidden(data: memoryview) -> bool:
    # A superframe, marked at its end, has a frame to show. One alone says so behind its profile, of which the last
    # has a bit more; or that it repeats another.
    is_superframe = data[-1] & 0xE0 == 0xC0
    return not is_superframe and data[0] & 0x30 != 0x30 and not data[0] & 0x0A


_MPEG4_FRAME = b'\0\0\1\xb6'  # what each begins with

# Codecs that have packets with nothing to show in them, which only help to decode others.
_HIDDEN = {'vp8': _vp8_is_hidden, 'vp9': _vp9_is_hidden}


def _is_idr(data: memoryview, extradata: bytes | None) -> bool:
    """Whether no frame after a key frame of H.264 needs one before it: the first slice is of an IDR picture.

    Args:
        data: Of a packet in an mp4 or Matroska file, where each unit has its length in front.
        extradata: The stream's, which tells how many bytes this length takes.
    """
    if not extradata or extradata[0] != 1:
        return False
    width, position = (extradata[4] & 3) + 1, 0
    while position + width < len(data):
        kind = data[position + width] & 31
        if kind in (1, 5):
            return kind == 5
        position += width + int.from_bytes(data[position : position + width], 'big')
    return False
