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

# Formats that are lists of other files, or take any text for a picture.
_NO_VIDEO_FILES = {'concat', 'dash', 'hls', 'image2', 'tty'}

# Decoders that decide at once whether they leave a packet out; others are some packets behind.
_CAN_SKIP = ('h264', 'hevc', 'mpeg1video', 'mpeg2video', 'mpeg4')

# So many frames behind the one that is wanted may come before it.
_MAX_REORDERED = 16

# Tags in another encoding than UTF-8 are an error, until PyAV 19.
_OPTIONS = {'metadata_errors': 'ignore'} if int(av.__version__.split('.')[0]) < 19 else {}


class PyavVideo:
    """An open file as PyAV sees it: which frames it has, and how to decode them.

    A frame is known by its time, so that a seek can't lead to another one: what doesn't come behind one key frame
    is looked for from an earlier one. On the way to it, frames that no other one needs aren't decoded. One thread.

    Args:
        source: Path, or the bytes of a file.

    Attributes:
        index: Which frames there are.
        format: FFmpeg's name of the container.
    """

    def __init__(self, source: str | bytes) -> None:
        # A relative path with a colon could be taken for a URL.
        self._source = source if isinstance(source, bytes) else os.path.abspath(source)
        self._container: Any = None
        self._reformatter = VideoReformatter()
        self._turn: Turn | None = None
        self._codec_options: dict[str, str] = {}
        self._reason = ''  # why a packet couldn't be decoded
        self._running: Iterator[Any] | None = None  # frames behind the last one that was wanted
        self._reached = 0  # time of the last frame that came
        self._wanted: dict[int, int] = {}  # time -> number, of the frames that are being looked for
        self._until = 0  # time of the last of them
        try:
            self._open()
            self.format: str = self._stream.container.format.name
            self.index = self._index()
            if self.index.is_plain:
                # Damage is an error then, and not concealed. Others may have frames that lack what they need.
                self._codec_options = {'err_detect': 'explode'}
                self._codec.options = self._codec_options
        except Refusal:
            self.close()
            raise

    def _open(self) -> None:
        """Opens the file, or opens it again to be at its beginning."""
        self.close()
        source = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        with refusals():
            self._container = av.open(source, 'r', **_OPTIONS)
            self._stream: Any = self._container.streams.best('video')
        found = _NO_VIDEO_FILES.intersection(self._container.format.name.split(','))
        if found:
            raise Refusal(f'it is {found.pop()}, which is no video file but a list or a text')
        if self._stream is None:
            raise Refusal('it has no video stream')
        if self._stream.disposition & Disposition.attached_pic:
            raise Refusal('it has no video stream, but a cover picture')
        self._codec = self._stream.codec_context
        if not self._codec or not self._codec.width:
            raise Refusal('no frame of its video stream can be decoded')
        self._codec.thread_count = 1
        self._codec.options = self._codec_options

    def _packets(self) -> Iterator[Any]:
        """Packets from where the file is read next, to its end."""
        # A generator of PyAV's has to be closed to give all back. `yield from` does so when this one is let go of.
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
        """Decodes the whole file to see how many frames there are."""
        self._open()
        times = [frame.pts for frame in self._frames(self._packets())]
        tick, rate = float(self._stream.time_base), rate_of(self._stream)
        if None in times or (np.diff(times) <= 0).any():
            times, tick = list(range(len(times))), 1 / rate
        return FrameIndex(np.array(times), tick, np.array(times[:1]), rate, in_order=True)

    @property
    def turn(self) -> Turn:
        """How the frames have to be turned, all like the first that is decoded."""
        if self._turn is None:
            frame = next(self._frames(self._packets_from(int(self.index.keys[0]))), None)
            if frame is None:
                raise Refusal(self._reason or 'no frame can be decoded')
            with refusals():
                self._turn = turn_of(frame)
        return self._turn

    def require_seekable(self) -> None:
        """Refuses files for libraries that go to a key frame and rely on having got there."""
        if self.index.in_order:
            raise Refusal('the frames have no times to find them by')
        if not self.format.startswith(('mov,', 'matroska,')):
            raise Refusal(f'it misses key frames in {self.format}')

    def require_plain_turn(self) -> None:
        """Refuses files for libraries that know of angles alone, and look for them in mp4 files alone."""
        if self.turn.is_mirror or (any(self.turn) and not self.format.startswith('mov,')):
            raise Refusal('it does not turn frames as the file wants it')

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Decodes frames by number, ascending: each (H, W, 3), uint8, RGB, upright."""
        self._reason = ''
        found = self._decode_in_order(ids) if self.index.in_order else self._decode_by_time(ids)
        missing = [i for i in ids if i not in found]
        if missing:
            why = f': {self._reason}' if self._reason else ''
            raise Damage(f'{len(found)} of {len(ids)} came, without {some(missing)}{why}')
        return found

    def close(self) -> None:
        """Lets go of the file."""
        self._running = None
        if self._container is not None:
            self._container.close()

    def _decode_in_order(self, ids: list[int]) -> dict[int, np.ndarray]:
        self._open()
        found, wanted = {}, set(ids)
        for number, frame in enumerate(self._frames(self._packets())):
            if number in wanted:
                found[number] = self._picture(frame)
            if number == ids[-1]:
                break
        return found

    def _decode_by_time(self, ids: list[int]) -> dict[int, np.ndarray]:
        times = self.index.times
        found: dict[int, np.ndarray] = {}
        keys = np.searchsorted(self.index.keys, times[ids], side='right') - 1
        for key, group in groupby(zip(keys.tolist(), ids, strict=True), key=lambda pair: pair[0]):
            wanted = {int(times[i]): i for _, i in group}
            # Behind a key frame that is no clean start, the first frames don't come.
            for start in dict.fromkeys((key, max(key - 1, 0), 0)):
                found |= self._decode_from(int(self.index.keys[start]), wanted)
                wanted = {time: i for time, i in wanted.items() if i not in found}
                if not wanted or self._reason:
                    break
        return found

    def _decode_from(self, key: int, wanted: dict[int, int]) -> dict[int, np.ndarray]:
        """Decodes what is wanted, time -> number, from a key frame on: number -> frame."""
        found: dict[int, np.ndarray] = {}
        num_beyond = 0
        for frame in self._frames_from(key, wanted):
            if frame.pts in wanted:
                found[wanted[frame.pts]] = self._picture(frame)
            num_beyond += frame.pts > self._until
            if len(found) == len(wanted) or num_beyond > _MAX_REORDERED:
                break
        return found

    def _frames_from(self, key: int, wanted: dict[int, int]) -> Iterator[Any]:
        """Frames from a key frame on, or from where the last call stopped, where that is nearer."""
        if self._running is None or not key <= self._reached < min(wanted):
            self._running = self._frames(self._packets_from(key))
        self._wanted, self._until = wanted, max(wanted)
        for frame in self._running:
            if frame.pts is not None:
                self._reached = frame.pts
                yield frame
        self._running = None

    def _packets_from(self, key: int) -> Iterator[Any]:
        """Packets from that of a key frame on, wherever a seek leads; none where it isn't found."""
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
        """Decodes packets from a key frame on, as far as that goes: behind damage, nothing is sound."""
        for frame in self._decoded(packets):
            if frame.is_corrupt:
                self._reason = 'a frame is damaged'
                return
            yield frame

    def _decoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        can_skip = self._codec.name in _CAN_SKIP
        try:
            for packet in packets:
                if packet.size == 0 and packet.dts is not None:  # not the end, but an empty one
                    continue
                skip = can_skip and self._is_on_the_way(packet)
                self._codec.skip_frame = 'NONREF' if skip else 'DEFAULT'
                yield from packet.decode()
        except Exception as error:
            self._reason = first_line(error)
            with suppress(Exception):  # those before it may still wait for their turn
                yield from self._codec.decode(None)

    def _is_on_the_way(self, packet: Any) -> bool:
        """Whether a packet's frame comes before one that is wanted, and isn't."""
        if not packet.size or packet.pts is None or not self._wanted:
            return False
        return packet.pts < self._until and packet.pts not in self._wanted

    def _picture(self, frame: Any) -> np.ndarray:
        with refusals():
            pixels = self._reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
            self._turn = self._turn or turn_of(frame)
        return self._turn.apply(pixels)
