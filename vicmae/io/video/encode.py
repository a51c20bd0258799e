# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encodes frames as mp4."""

import io
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace


class EncodedVideo(NamedTuple):
    """The bytes of a file, and how many frames and key frames it has."""

    content: bytes
    num_frames: int
    num_keys: int


def encode_mp4(
    frames: Iterable[np.ndarray],
    height: int,
    width: int,
    *,
    fps: float,
    options: Mapping[str, str],
) -> EncodedVideo:
    """Encodes frames (H, W, 3), uint8, RGB, as H.264 in mp4. The same frames give the same bytes.

    Args:
        frames: The frames.
        height: Their height, an even number.
        width: Their width, an even number.
        fps: Frames per second.
        options: Options of x264, such as `crf`.
    """
    file = io.BytesIO()
    num_frames = num_keys = 0
    with av.open(file, 'w', format='mp4') as container:
        stream: Any = container.add_stream('libx264', _rate(fps))
        stream.height, stream.width, stream.pix_fmt = height, width, 'yuv420p'
        stream.thread_count = 1  # processes share the cores; and more threads give other bytes
        # Written into the file, so that no reader has to guess what a decoded value means.
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        # mbtree computes with approximations that differ between CPUs and calls: other bytes for the same frames.
        params = [options.get('x264-params'), 'mbtree=0']
        stream.options = {**options, 'x264-params': ':'.join(filter(None, params))}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, 'rgb24').reformat(
                format='yuv420p',
                dst_colorspace=Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
            )
            num_frames += 1
            for packet in stream.encode(picture):
                num_keys += packet.is_keyframe
                container.mux(packet)
        for packet in stream.encode(None):
            num_keys += packet.is_keyframe
            container.mux(packet)
    return EncodedVideo(file.getvalue(), num_frames, num_keys)


def _rate(fps: float) -> Fraction:
    """Frames per second as encoders want them, such as 30000/1001."""
    return Fraction(fps).limit_denominator(1001) or Fraction(fps).limit_denominator(10**6)
