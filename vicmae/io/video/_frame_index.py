# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Indexes the frames of a video by its packets, without decoding them. T frames, P packets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FrameIndex:
    """The times of all frames, and the key frames."""

    times: np.ndarray  # of the frames, ascending, in ticks: (T,), int64
    tick: float  # seconds
    keys: np.ndarray  # times of the key frames, where decoding can begin: (K,), int64
    rate: float  # frames per second in the metadata
    # Whether each packet has one frame, and all frames before a key frame in the file are also shown before it.
    is_plain: bool = False
    in_order: bool = (
        False  # whether frames have no usable times, and are found by counting from the start
    )

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return len(self.times)

    @property
    def seconds(self) -> np.ndarray:
        """Times of the frames in seconds, on the clock of the file: (T,)."""
        return self.times * self.tick

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        if self.num_frames < 2:
            return self.rate
        return float((self.num_frames - 1) / ((self.times[-1] - self.times[0]) * self.tick))

    @property
    def is_steady(self) -> bool:
        """Whether frames have equal distances in time, and the first has time 0."""
        step = int(self.times[-1] - self.times[0]) // max(self.num_frames - 1, 1)
        return bool((self.times == step * np.arange(self.num_frames)).all())

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Returns the numbers of the frames shown at these times, in seconds after the first frame."""
        # Tolerate the rounding of times to ticks in files and to floats here.
        ticks = np.asarray(seconds) / self.tick + min(0.5, 5e-4 / self.tick)
        ids = np.searchsorted(self.times - self.times[:1], np.floor(ticks), side='right') - 1
        return ids.clip(0, self.num_frames - 1).tolist()


def index_packets(packets: Iterable[Any], stream: Any) -> FrameIndex | None:
    """Builds the index of a stream from all its packets, in the order of the file.

    Leaves out packets that an edit list removes, that are truncated or never shown, and those before the first key
    frame. Returns None if packets don't identify frames: times are missing, repeated or descending from one key frame
    to the next, or packets hold several frames (MPEG-4 in old AVI files).
    """
    codec, extradata = stream.codec_context.name, stream.codec_context.extradata
    if _has_wrong_times(stream):
        return None
    is_hidden = _HIDDEN.get(codec)
    times, keys, shown, clean = [], [], [], True
    for packet in packets:  # a hot loop: avoid calls
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
    first = keys.index(True) if True in keys else 0  # some formats never mark key frames
    all_times = np.array(times[first:], dtype=np.int64)  # (P,), in decoding order
    is_key = np.array(keys[first:], dtype=bool)
    is_key[:1] = True
    key_ids = np.flatnonzero(is_key)
    key_times = all_times[key_ids]
    latest_before = np.maximum.accumulate(all_times)[key_ids[1:] - 1]
    earliest_after = np.minimum.accumulate(all_times[::-1])[::-1][key_ids]
    if (latest_before >= key_times[1:]).any():
        return None
    # Frames that are shown before the first key frame need an earlier one to be decoded.
    is_shown = np.array(shown[first:], dtype=bool) & (all_times >= all_times[:1])
    frame_times = np.unique(all_times[is_shown])
    if len(frame_times) < is_shown.sum():
        return None
    separated = (earliest_after >= key_times).all()
    is_plain = bool(clean and first == 0 and separated and is_shown.all())
    tick = float(stream.time_base)
    return FrameIndex(frame_times, tick, key_times, rate_of(stream), is_plain)


def rate_of(stream: Any) -> float:
    """Returns the frames per second in the metadata, or FFmpeg's guess."""
    return float(stream.guessed_rate or 25)


def _has_wrong_times(stream: Any) -> bool:
    """Returns whether FFmpeg invented the times of packets, since the container (AVI) has none."""
    codec = stream.codec_context
    reorders = codec.name in ('h264', 'hevc') and codec.has_b_frames
    return stream.container.format.name == 'avi' and reorders


def _vp8_is_hidden(data: memoryview) -> bool:
    return not data[0] & 0x10


def _vp9_is_hidden(data: memoryview) -> bool:
    # A superframe, marked at its end, has a visible frame. A single frame has a visibility flag after its profile (the
    # last profile has one more bit), or repeats another frame.
    is_superframe = data[-1] & 0xE0 == 0xC0
    return not is_superframe and data[0] & 0x30 != 0x30 and not data[0] & 0x0A


_MPEG4_FRAME = b'\0\0\1\xb6'  # the start of each frame

# Codecs with hidden packets, which are only used to decode others.
_HIDDEN = {'vp8': _vp8_is_hidden, 'vp9': _vp9_is_hidden}


def _is_idr(data: memoryview, extradata: bytes | None) -> bool:
    """Returns whether a key frame of H.264 is an IDR picture: no frame after it needs one before it.

    In mp4 and Matroska files, each unit starts with its length. The stream's `extradata` has the bytes of that number.
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
