# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Orients decoded frames upright. H W pixels."""

import math
from typing import Any, NamedTuple

import numpy as np
from av.video.reformatter import VideoReformatter


class Turn(NamedTuple):
    """Rotates and mirrors a frame: first height and width may be swapped, then each may be reversed."""

    swap: bool = False
    flip_height: bool = False
    flip_width: bool = False

    @property
    def is_mirror(self) -> bool:
        """Whether it mirrors the frame, unlike any rotation."""
        return (self.swap + self.flip_height + self.flip_width) % 2 == 1

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Orients a frame: (H, W, 3) -> (H, W, 3) or (W, H, 3)."""
        if self.swap:
            pixels = pixels.transpose(1, 0, 2)
        if self.flip_height:
            pixels = pixels[::-1]
        if self.flip_width:
            pixels = pixels[:, ::-1]
        # Always copy: NumPy calls a reversed axis of one pixel contiguous, but torch refuses it.
        return np.array(pixels, order='C') if any(self) else pixels


def turn_of(frame: Any) -> Turn:
    """Reads the orientation of a PyAV frame from its metadata."""
    # Use a small copy: PyAV's side data and frame refer to each other, which keeps the frame in memory.
    small = VideoReformatter().reformat(frame, 8, 8, 'gray', threads=1)
    try:
        stored: Any = small.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # This PyAV can't name other side data of the frame. It returns the angle, but no mirroring.
        angle = math.radians(frame.rotation)
        matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    else:
        if stored is None:
            return Turn()
        matrix = np.frombuffer(bytes(stored), dtype=np.int32).reshape(3, 3)[:2, :2]
    # The directions right and down of the stored frame, each as (right, down) on the screen.
    (right_right, right_down), (down_right, down_down) = matrix.tolist()
    if abs(right_down) > abs(right_right):
        return Turn(True, flip_height=right_down < 0, flip_width=down_right < 0)
    return Turn(False, flip_height=down_down < 0, flip_width=right_right < 0)
