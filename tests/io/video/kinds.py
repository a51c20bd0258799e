# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Videos of many kinds, and a reference that decodes them from the beginning, frame by frame."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vicmae.io.video import READERS

SOURCE = '-f lavfi -i testsrc2=size=96x64:rate=25:duration=2'
X264 = '-c:v libx264 -pix_fmt yuv420p -x264-params keyint=12:min-keyint=12:scenecut=0:bframes=3'
VARY = r'-vf select=not(mod(n\,2))+lt(n\,20)+between(n\,34\,38) -vsync vfr'

# Name of the file -> arguments of ffmpeg that make it. Those of later ones may name earlier ones.
MADE = {
    'h264.mp4': f'{SOURCE} {X264}',
    'open_gop.mp4': f'{SOURCE} {X264}:open-gop=1',
    'open_gop.ts': f'{SOURCE} {X264}:open-gop=1',
    'intra_refresh.mp4': f'{SOURCE} {X264}:intra-refresh=1',
    'hevc.mp4': f'{SOURCE} -c:v libx265 -x265-params keyint=12:open-gop=0:bframes=3:log-level=none',
    'hevc_open_gop.mp4': f'{SOURCE} -c:v libx265 -x265-params keyint=12:bframes=3:log-level=none',
    'vp8.webm': f'{SOURCE} -c:v libvpx -g 12 -cpu-used 8 -deadline realtime',
    'vp9.webm': f'{SOURCE} -c:v libvpx-vp9 -g 12 -deadline realtime -cpu-used 8',
    'mpeg4.mp4': f'{SOURCE} -c:v mpeg4 -g 12 -q:v 3',
    'mpeg4_b.mp4': f'{SOURCE} -c:v mpeg4 -g 12 -bf 2 -q:v 3',
    'mpeg4_b.avi': f'{SOURCE} -c:v mpeg4 -g 12 -bf 2 -q:v 3',
    'mpeg2.ts': f'{SOURCE} -c:v mpeg2video -g 12 -bf 2 -q:v 3',
    'varying.mp4': f'{SOURCE} {VARY} {X264}',
    'varying.mkv': f'{SOURCE} {VARY} {X264}',
    'turned.mp4': '-i h264.mp4 -c copy -metadata:s:v rotate=90',
    'edited.mp4': '-ss 0.6 -i h264.mp4 -c copy',
    'edited_open_gop.mp4': '-ss 0.6 -i open_gop.mp4 -c copy',
    'later.mkv': '-itsoffset 2.5 -i h264.mp4 -c copy',
    'fragments.mp4': '-i h264.mp4 -c copy -movflags +frag_keyframe+empty_moov',
    'without_times.h264': '-i h264.mp4 -bsf:v h264_mp4toannexb -c copy',
    'wrong_times.avi': '-i h264.mp4 -bsf:v h264_mp4toannexb -c copy',
}


def one_reader_fast(name, values):
    """All readers with all values: PyAV's are fast tests, as are the others' with the first value."""
    values = list(values)
    pairs = [
        pytest.param(
            reader, value, marks=[pytest.mark.slow] * (reader != 'pyav' and value != values[0])
        )
        for value in values
        for reader in READERS
    ]
    return pytest.mark.parametrize(('reader', name), pairs, indirect=['reader'])


class Reference:
    """All frames of a video, decoded one after the other.

    Attributes:
        frames: (T, H, W, 3), uint8.
        seconds: When they are shown, counted from the first: (T,); None where the file doesn't say.
    """

    def __init__(self, path):
        with av.open(str(path), metadata_errors='ignore') as container:
            stream = container.streams.best('video')
            decoded = [
                (f.pts, f.rotation, f.to_ndarray(format='rgb24')) for f in container.decode(stream)
            ]
            tick = Fraction(stream.time_base)
        self.frames = np.stack([np.rot90(pixels, round(turn / 90)) for _, turn, pixels in decoded])
        self._few = self.frames[:, ::3, ::3].astype(np.int16)
        times = [pts for pts, _, _ in decoded]
        self.seconds = None if None in times else [float((t - times[0]) * tick) for t in times]

    def number_of(self, frame):
        """Returns the number of the most similar frame, and requires that it is similar."""
        distances = np.abs(self._few - frame[::3, ::3]).mean(axis=(1, 2, 3))
        assert distances.min() < 3  # two conversions from YUV differ by their rounding
        return int(distances.argmin())
