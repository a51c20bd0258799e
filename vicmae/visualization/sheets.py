# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures side by side, below titles, as PNG and mp4.

T H W frames and pixels, t h w the patch grid. Pictures are (H, W, 3), uint8, RGB; an image is a clip of one frame.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .nearest_patches import Place

READABLE_SIDE = 160  # pixels
_TITLE_HEIGHT = 24
_GAP = 8
_FPS = 4
_PHOTO_SHARE = 0.25  # of the picture below a heat map
_BOX = (0, 229, 255)  # in no heat map


class Tile(NamedTuple):
    """A picture or clip with a title, (T, H, W, 3)."""

    title: str
    frames: np.ndarray


def shown_frame(frames: np.ndarray, number: int, num_frames: int) -> np.ndarray:
    """Returns the frame of a clip that is shown as frame `number` of `num_frames`: of a shorter clip, frames repeat."""
    return frames[number * len(frames) // num_frames]


def spread_over_pixels(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Gives all pixels of a patch its value: (t, h, w, ...) -> (T, H, W, ...), of the size of `frames`."""
    for axis, size in enumerate(frames.shape[:3]):
        values = np.repeat(values, size // values.shape[axis], axis=axis)
    return values


def heat_map(values: np.ndarray, frames: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Draws values of patches over gray frames, dark at `low` and bright at `high`: (t, h, w) -> (T, H, W, 3)."""
    import matplotlib

    share = (values - low) / ((high - low) or 1.0)
    colours = 255 * matplotlib.colormaps['inferno'](share.clip(0, 1))[..., :3]
    gray = frames.mean(axis=-1, keepdims=True)
    mixed = _PHOTO_SHARE * gray + (1 - _PHOTO_SHARE) * spread_over_pixels(colours, frames)
    return mixed.round().astype(np.uint8)


def frame_patch(picture: np.ndarray, place: Place, grid: Sequence[int]) -> np.ndarray:
    """Draws a box around a patch of an enlarged picture."""
    _, row, column = place
    height, width = picture.shape[0] // grid[1], picture.shape[1] // grid[2]
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for margin, colour in ((4, 'black'), (3, _BOX), (2, _BOX), (1, _BOX)):
        left, top = max(column * width - margin, 0), max(row * height - margin, 0)
        right = min((column + 1) * width + margin, image.width) - 1
        bottom = min((row + 1) * height + margin, image.height) - 1
        draw.rectangle((left, top, right, bottom), outline=colour)
    return np.asarray(image)


def enlarge(frames: np.ndarray) -> np.ndarray:
    """Repeats pixels of small pictures until each side has at least 160: (..., H, W, 3)."""
    zoom = max(1, -(-READABLE_SIDE // min(frames.shape[-3:-1])))
    return frames.repeat(zoom, axis=-3).repeat(zoom, axis=-2)


def draw_sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]]) -> np.ndarray:
    """Draws rows of pictures, each with its title above. Pictures get the height of the largest."""
    enlarged = [[(title, enlarge(picture)) for title, picture in row] for row in rows]
    height = max(picture.shape[0] for row in enlarged for _, picture in row)
    strips = [_draw_row(row, height) for row in enlarged]
    width = max(strip.shape[1] for strip in strips)
    padded = [_on_white(strip, (strip.shape[0], width)) for strip in strips]
    return np.concatenate(padded)


def _draw_row(row: Sequence[tuple[str, np.ndarray]], height: int) -> np.ndarray:
    columns = [_draw_titled(title, picture, height) for title, picture in row]
    gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
    joined = [part for column in columns for part in (gap, column)]
    return np.concatenate(joined[1:], axis=1)


def _draw_titled(title: str, picture: np.ndarray, height: int) -> np.ndarray:
    if picture.shape[0] != height:
        width = round(picture.shape[1] * height / picture.shape[0])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
    top = Image.new('RGB', (picture.shape[1], _TITLE_HEIGHT), 'white')
    draw = ImageDraw.Draw(top)
    font = ImageFont.load_default(13)
    text = title
    while len(text) > 1 and draw.textlength(text, font=font) > top.width - 4:
        text = f'{text[:-2]}\u2026'
    draw.text((top.width / 2, _TITLE_HEIGHT / 2), text, fill='black', font=font, anchor='mm')
    return np.concatenate([np.asarray(top), picture])


def _on_white(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    page = np.full((*size, 3), 255, np.uint8)
    page[: picture.shape[0], : picture.shape[1]] = picture
    return page


def encode_sheet(rows: Sequence[Sequence[Tile]]) -> tuple[str, bytes]:
    """Encodes rows of pictures as PNG, or as mp4 if one is a clip. Returns the extension and the content."""
    num_frames = max(len(tile.frames) for row in rows for tile in row)
    sheets = [
        draw_sheet(
            [[(t.title, shown_frame(t.frames, number, num_frames)) for t in row] for row in rows]
        )
        for number in range(num_frames)
    ]
    if num_frames == 1:
        file = io.BytesIO()
        Image.fromarray(sheets[0]).save(file, 'png', optimize=True)
        return '.png', file.getvalue()
    # Training imports this room's charts, and needs no PyAV.
    from vicmae.io.video.encode import encode_mp4

    height, width = (side + side % 2 for side in sheets[0].shape[:2])
    even = [_on_white(sheet, (height, width)) for sheet in sheets]
    return '.mp4', encode_mp4(even, height, width, fps=_FPS, options={'crf': '16'}).content
