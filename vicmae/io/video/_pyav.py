# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, groupby
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from ._frame_index import FrameIndex, index_packets, rate_of
from ._refusal import Damage, Refusal, first_line, refusals, some
from ._turn import Turn, turn_of

# Demuxers of lists of other files, or that read any text as a picture.
_NO_VIDEO_FILES = {'concat', 'dash', 'hls', 'image2', 'tty'}

# Decoders whose `skip_frame` applies to the current packet. In others it takes effect some packets later.
_CAN_SKIP = ('h264', 'hevc', 'mpeg1video', 'mpeg2video', 'mpeg4')

# Number of later frames that may be decoded before a requested one.
_MAX_REORDERED = 16

# Number of frames before the next key frame that a stream decodes, rather than seek to that.
_MAX_REST = 16

# Tags that aren't UTF-8 are an error before PyAV 19.
_OPTIONS = {'metadata_errors': 'ignore'} if int(av.__version__.split('.')[0]) < 19 else {}


class PyavVideo:
    """Indexes and decodes a video, given as a path or as bytes, with PyAV.

    Frames are identified by their times. One that isn't found after its key frame is searched from an earlier key
    frame. Frames before it that no other frame refers to are not decoded.
    """

    def __init__(self, source: str | bytes) -> None:
        # FFmpeg could take a relative path with a colon for a URL.
        self._source = source if isinstance(source, bytes) else os.path.abspath(source)
        self._container: Any = None
        self._reformatter = VideoReformatter()
        self._turn: Turn | None = None
        self._codec_options: dict[str, str] = {}
        self._reason = ''  # why a packet couldn't be decoded
        self.is_streaming = (
            False  # whether frames are requested in order, from the first to the last
        )
        self._running: Iterator[Any] | None = None  # frames after the last requested one
        self._reached = 0  # time of the last decoded frame; its number if frames have no times
        self._wanted: dict[int, int] = {}  # time -> number, of the requested frames
        self._until = 0  # time of the last requested frame
        try:
            self._open()
            self.format: str = self._stream.container.format.name
            self.index = self._index()
            if self.index.is_plain:
                # Report damage instead of concealing it. In other files, reference frames may be missing on purpose.
                self._codec_options = {'err_detect': 'explode'}
                self._codec.options = self._codec_options
        except Refusal:
            self.close()
            raise

    def _open(self) -> None:
        """Opens the file, or reopens it to start from the beginning."""
        self.close()
        source = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        with refusals():
            self._container = av.open(source, 'r', **_OPTIONS)
            self._stream: Any = self._container.streams.best('video')
        demuxers = _NO_VIDEO_FILES.intersection(self._container.format.name.split(','))
        if demuxers:
            raise Refusal(f'its format {demuxers.pop()} is a list of files or a text, not a video')
        if self._stream is None:
            raise Refusal('it has no video stream')
        if self._stream.disposition & Disposition.attached_pic:
            raise Refusal('it has a cover picture but no video stream')
        self._codec = self._stream.codec_context
        if not self._codec or not self._codec.width:
            raise Refusal('no frame of its video stream can be decoded')
        self._codec.thread_count = 1
        self._codec.options = self._codec_options

    def _packets(self) -> Iterator[Any]:
        """Yields the packets from the current position on."""
        # `yield from` closes PyAV's generator with this one, which frees its memory.
        yield from self._container.demux(self._stream)

    def _index(self) -> FrameIndex:
        with refusals():
            index = index_packets(self._packets(), self._stream)
        if index is None:
            index = self._index_in_order()
        if not index.num_frames:
            raise Refusal(self._reason or 'it has no frames')
        return index

    def _index_in_order(self) -> FrameIndex:
        """Decodes the whole file to count its frames."""
        self._open()
        times = [frame.pts for frame in self._frames(self._packets())]
        tick, rate = float(self._stream.time_base), rate_of(self._stream)
        if None in times or (np.diff(times) <= 0).any():
            times, tick = list(range(len(times))), 1 / rate
        return FrameIndex(np.array(times), tick, np.array(times[:1]), rate, in_order=True)

    @property
    def turn(self) -> Turn:
        """The orientation of all frames, read from the first decoded one."""
        if self._turn is None:
            frame = next(self._frames(self._packets_from(int(self.index.keys[0]))), None)
            if frame is None:
                raise Refusal(self._reason or 'no frame can be decoded')
            with refusals():
                self._turn = turn_of(frame)
        return self._turn

    def require_seekable(self) -> None:
        """Refuses files for libraries that don't verify the position after a seek."""
        if self.index.in_order:
            raise Refusal('the frames have no times')
        if not self.format.startswith(('mov,', 'matroska,')):
            raise Refusal(f'it may miss key frames in {self.format}')

    def require_plain_turn(self) -> None:
        """Refuses files for libraries that apply only rotations, and only those in mp4 files."""
        if self.turn.is_mirror or (any(self.turn) and not self.format.startswith('mov,')):
            raise Refusal('it does not apply the orientation in the metadata')

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        self._reason = ''
        decoded = self._decode_in_order(ids) if self.index.in_order else self._decode_by_time(ids)
        missing = [i for i in ids if i not in decoded]
        if missing:
            reason = f': {self._reason}' if self._reason else ''
            raise Damage(
                f'decoded {len(decoded)} of {len(ids)} frames, without {some(missing)}{reason}'
            )
        return decoded

    def close(self) -> None:
        self._running = None
        if self._container is not None:
            self._container.close()

    def _decode_in_order(self, ids: list[int]) -> dict[int, np.ndarray]:
        if self._running is None or not self._reached < ids[0]:
            self._open()
            self._running, self._reached = self._frames(self._packets()), -1
        decoded, requested = {}, set(ids)
        for frame in self._running or ():
            self._reached += 1
            if self._reached in requested:
                decoded[self._reached] = self._picture(frame)
            if self._reached == ids[-1]:
                return decoded
        self._running = None
        return decoded

    def _decode_by_time(self, ids: list[int]) -> dict[int, np.ndarray]:
        times = self.index.times
        decoded: dict[int, np.ndarray] = {}
        keys = np.searchsorted(self.index.keys, times[ids], side='right') - 1
        for key, group in groupby(zip(keys.tolist(), ids, strict=True), key=lambda pair: pair[0]):
            requested = {int(times[i]): i for _, i in group}
            # If frames after a key frame need earlier ones, the first of them are missing.
            for start in dict.fromkeys((key, max(key - 1, 0), 0)):
                decoded |= self._decode_whole(int(self.index.keys[start]), requested)
                requested = {time: i for time, i in requested.items() if i not in decoded}
                if not requested or self._reason:
                    break
        return decoded

    def _decode_whole(self, key: int, requested: dict[int, int]) -> dict[int, np.ndarray]:
        """Decodes as `_decode_from` does, again from the key frame if damage before it was in the way."""
        crosses = self._goes_on(key, min(requested)) and self._reached < key
        decoded = self._decode_from(key, requested)
        if crosses and len(decoded) < len(requested):
            self._running, self._reason = None, ''
            decoded = self._decode_from(key, requested)
        return decoded

    def _decode_from(self, key: int, requested: dict[int, int]) -> dict[int, np.ndarray]:
        """Decodes the requested frames, time -> number, from a key frame on: number -> frame."""
        decoded: dict[int, np.ndarray] = {}
        num_beyond = 0
        for frame in self._frames_from(key, requested):
            if frame.pts in requested:
                decoded[requested[frame.pts]] = self._picture(frame)
            num_beyond += frame.pts > self._until
            if len(decoded) == len(requested) or num_beyond > _MAX_REORDERED:
                break
        return decoded

    def _frames_from(self, key: int, requested: dict[int, int]) -> Iterator[Any]:
        """Yields frames from a key frame on, or from the end of the last call if that is closer."""
        if not self._goes_on(key, min(requested)):
            self._running = self._frames(self._packets_from(key))
        self._wanted, self._until = requested, max(requested)
        for frame in self._running or ():
            if frame.pts is not None:
                self._reached = frame.pts
                yield frame
        self._running = None

    def _goes_on(self, key: int, first: int) -> bool:
        """Returns whether decoding continues from the end of the last call, and doesn't seek to the key frame.

        In a stream it also does so shortly before the key frame: after a seek, the decoder has to get ahead again.
        """
        if self._running is None or self._reached >= first:
            return False
        if self._reached >= key:
            return True
        times = self.index.times
        rest = np.searchsorted(times, key) - np.searchsorted(times, self._reached, side='right')
        return self.is_streaming and bool(rest <= _MAX_REST)

    def _packets_from(self, key: int) -> Iterator[Any]:
        """Returns the packets from a key frame on, wherever a seek ends; none if it isn't found."""
        self._running = None
        packets = None
        with suppress(Exception):  # some formats can't seek
            self._container.seek(key, stream=self._stream)
            packets = self._find(key)
        if packets is None:
            self._open()
            with refusals():
                packets = self._find(key)
        return packets or iter(())

    def _find(self, key: int) -> Iterator[Any] | None:
        packets = self._packets()
        for packet in packets:
            if packet.pts == key:
                return chain([packet], packets)
            if packet.dts is not None and packet.dts > key:
                return None
        return None

    def _frames(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Decodes packets up to the first damaged frame, on which later ones may depend."""
        for frame in self._decoded(packets):
            if frame.is_corrupt:
                self._reason = 'a frame is damaged'
                return
            yield frame

    def _decoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        can_skip = self._codec.name in _CAN_SKIP
        try:
            for packet in packets:
                # An empty packet. Only the end of the stream has no dts.
                if packet.size == 0 and packet.dts is not None:
                    continue
                skip = can_skip and self._is_on_the_way(packet)
                self._codec.skip_frame = 'NONREF' if skip else 'DEFAULT'
                yield from packet.decode()
        except Exception as error:
            self._reason = first_line(error)
            with suppress(Exception):  # earlier frames may still be in the decoder
                yield from self._codec.decode(None)

    def _is_on_the_way(self, packet: Any) -> bool:
        """Returns whether a packet's frame isn't requested, but comes before one that is."""
        if not packet.size or packet.pts is None or not self._wanted:
            return False
        return packet.pts < self._until and packet.pts not in self._wanted

    def _picture(self, frame: Any) -> np.ndarray:
        with refusals():
            pixels = self._reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
            self._turn = self._turn or turn_of(frame)
        return self._turn.apply(pixels)


def stated_seconds(path: str) -> float:
    """Returns the duration in the container's header, 0 if it has none or the file can't be opened."""
    with suppress(Exception), av.open(os.path.abspath(path), 'r', **_OPTIONS) as container:
        return (container.duration or 0) / av.time_base
    return 0.0
