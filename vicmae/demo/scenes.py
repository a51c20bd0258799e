# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws the pictures and videos of the demo data set: textured things over textured backgrounds.

A class is a texture on a shape: stripes on a disc, dots on a star. Features that are easy to see say little about the
class: hues, size, place, tilt, background and light are random in each file and change during a video, so that two
distant frames share the thing and not its colours. Features that no usual augmentation changes (brightness of the
colours, period of the texture, tilt) hardly differ between files: otherwise contrastive learning could tell files apart
without the texture.

A worker process of `vicmae.demo.data` runs this file, see :func:`main`: it imports only numpy, OpenCV and PyAV. A scene
depends only on the seed and the name of the file.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

FRAME_SIZE = 80  # pixels, of images and videos
FRAME_RATE = 12  # frames per second
NUM_FRAMES = 36
KEYFRAME_INTERVAL = 12

_SUPERSAMPLING = 2  # things are drawn this much larger and averaged down
_SPRITE_SIZE = 176  # pixels of the bitmap of a thing
_SPRITE_EXTENT = 1.12  # the bitmap covers [-extent, extent]; a thing has radius 1
_LIGHTNESS = np.array([0.3, 0.59, 0.11], np.float32)  # of red, green and blue
_BACKDROP_SIZE = 144  # pixels of the bitmap of a background: room for the camera to move


# A shape is the depth of each pixel below its edge, in radii, negative outside. All have about the same size.
@lru_cache(maxsize=1)
def _sprite_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns x, y, radius and angle of each pixel of a thing's bitmap."""
    axis = np.linspace(-_SPRITE_EXTENT, _SPRITE_EXTENT, _SPRITE_SIZE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    # In float64: that of float32 is rounded in other ways by processors with AVX-512.
    angle = np.arctan2(x.astype(np.float64), -y).astype(np.float32)
    return x, y, np.hypot(x, y), angle


def _disc(rng: np.random.Generator) -> np.ndarray:
    return 0.93 - _sprite_grid()[2]


def _ring(rng: np.random.Generator) -> np.ndarray:
    radius = _sprite_grid()[2]
    return np.minimum(1.05 - radius, radius - rng.uniform(0.3, 0.42))


def _star(rng: np.random.Generator) -> np.ndarray:
    _, _, radius, angle = _sprite_grid()
    radius = radius / 1.08
    half = math.pi / rng.integers(5, 8)  # half the angle between two points
    inner = rng.uniform(0.55, 0.65)
    folded = np.abs((angle + half) % (2 * half) - half)
    # Distance from the edge that runs from the tip (1 at angle 0) to the notch (`inner` at angle `half`).
    notch_x, notch_y = inner * math.cos(half), inner * math.sin(half)
    length = math.hypot(1 - notch_x, notch_y)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    return ((1 - x) * notch_y - y * (1 - notch_x)) / length


def _triangle(rng: np.random.Generator) -> np.ndarray:
    x, y, _, _ = _sprite_grid()
    down = y - 0.3  # the middle of its sides is below the middle of the bitmap
    return 0.64 - np.maximum(down, np.abs(x) * math.sqrt(0.75) - down * 0.5)


def _square(rng: np.random.Generator) -> np.ndarray:
    x, y, _, _ = _sprite_grid()
    return 0.84 - np.maximum(np.abs(x), np.abs(y))


def _hexagon(rng: np.random.Generator) -> np.ndarray:
    x, y, _, _ = _sprite_grid()
    sloped = np.abs(x) * 0.5 + np.abs(y) * math.sqrt(0.75)
    return 0.88 - np.maximum(np.abs(x), sloped)


def _heart(rng: np.random.Generator) -> np.ndarray:
    x, y, _, _ = _sprite_grid()
    side = 0.92 - np.maximum(np.abs(x + y - 0.1), np.abs(x - y + 0.1)) * 1.05
    lobe = 0.62 - np.hypot(np.abs(x) - 0.44, y + 0.34)
    return np.maximum(lobe, side / math.sqrt(2))


def _flower(rng: np.random.Generator) -> np.ndarray:
    _, _, radius, angle = _sprite_grid()
    return 0.86 + 0.18 * np.cos(rng.integers(4, 7) * angle) - radius


# A texture gets coordinates in periods and the share of the first colour. It returns the distance, in periods, from
# the border between the two colours, positive in the first one.
def _to_line(x: np.ndarray) -> np.ndarray:
    """Returns the distance from the nearest whole number."""
    return np.abs(x - np.rint(x))


def _stripes(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return share / 2 - _to_line(p)


def _dots(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    row = np.floor(q)
    return math.sqrt(share / math.pi) - np.hypot(_to_line(p + row * 0.5), q - row - 0.5)


def _checks(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    a, b = _to_line(p * 0.6) - 0.25, _to_line(q * 0.6) - 0.25
    return np.copysign(np.minimum(np.abs(a), np.abs(b)), a * b) / 0.6


def _rings(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return share / 2 - _to_line(np.hypot(p - np.mean(p), q - np.mean(q)) + rng.uniform())


def _bricks(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    bed = _to_line(q)
    head = _to_line((p + np.floor(q)) * 0.5) * 2
    return 0.3 * share - np.minimum(bed, head)


def _zigzag(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return share / 2 - _to_line(q + 1.6 * _to_line(p * 0.6))


def _crosses(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    a, b = _to_line(p * 0.8), _to_line(q * 0.8)
    arm, width = 0.42, 0.08 + 0.12 * share
    upright = np.minimum(arm - b, width - a)
    level = np.minimum(arm - a, width - b)
    return np.maximum(upright, level) / 0.8


def _cells(p: np.ndarray, q: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    seeds = rng.uniform(0, 1, (2, 16, 16)).astype(np.float32)
    column, row = np.floor(p), np.floor(q)
    i, j = column.astype(np.intp), row.astype(np.intp)
    first = np.full_like(p, 9)
    second = first.copy()
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            dx = column + di + seeds[0, (i + di) % 16, (j + dj) % 16] - p
            dy = row + dj + seeds[1, (i + di) % 16, (j + dj) % 16] - q
            distance = dx * dx + dy * dy
            np.minimum(second, np.maximum(first, distance), out=second)
            np.minimum(first, distance, out=first)
    return 0.32 * share - (np.sqrt(second) - np.sqrt(first)) / 2


_Shape = Callable[[np.random.Generator], np.ndarray]
_Texture = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]

THINGS: dict[str, tuple[_Texture, _Shape]] = {
    'striped_disc': (_stripes, _disc),
    'dotted_star': (_dots, _star),
    'checkered_ring': (_checks, _ring),
    'zigzag_heart': (_zigzag, _heart),
    'ringed_triangle': (_rings, _triangle),
    'bricked_hexagon': (_bricks, _hexagon),
    'crossed_square': (_crosses, _square),
    'cellular_flower': (_cells, _flower),
}


def _colour(hue: float, saturation: float, lightness: float) -> np.ndarray:
    """Returns an RGB colour in [0, 1], darkened or lightened to the lightness."""
    colour = np.array(colorsys.hsv_to_rgb(hue % 1, saturation, 1), np.float32)
    full = float(colour @ _LIGHTNESS)
    if full > lightness:
        return colour * (lightness / full)
    return 1 - (1 - colour) * ((1 - lightness) / (1 - full))


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Returns smooth noise in [0, 1] with the given number of cells down and across."""
    coarse = rng.uniform(0, 1, cells).astype(np.float32)
    return cv2.resize(coarse, (_BACKDROP_SIZE, _BACKDROP_SIZE), interpolation=cv2.INTER_CUBIC)


def _draw_backdrop(hue: float, rng: np.random.Generator) -> np.ndarray:
    """Returns a background bitmap (S, S, 3), uint8: clouds, streaks, marble or speckle."""
    kind = rng.integers(4)
    field = _noise(rng, (5, 5))
    if kind == 0:
        field = 0.5 * field + 0.3 * _noise(rng, (11, 11)) + 0.2 * _noise(rng, (29, 29))
    elif kind == 1:
        field = 0.5 * field + 0.5 * _noise(rng, (6, 60))
    elif kind == 2:
        field = 0.5 + 0.5 * np.sin(9 * field + 4 * _noise(rng, (12, 12)))
    else:
        field = 0.6 * field + 0.4 * _noise(rng, (60, 60))
    first = _colour(hue, rng.uniform(0.4, 0.7), 0.4)
    second = _colour(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.4, 0.7), 0.55)
    field = np.clip(field, 0, 1)[..., None]
    return cv2.convertScaleAbs(first + field * (second - first), alpha=255)


def _draw_thing(
    texture: _Texture, shape: _Shape, hue: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns a thing's bitmap (S, S, 4), uint8: RGB multiplied by its opacity, and the opacity."""
    x, y, _, _ = _sprite_grid()
    pixel = 2 * _SPRITE_EXTENT / _SPRITE_SIZE
    depth = shape(rng)
    opacity = np.clip(depth / pixel + 0.5, 0, 1)

    periods = rng.uniform(3.0, 3.6)  # per radius
    cos, sin = _cos_sin(rng.uniform(-0.2, 0.2))
    bend = rng.uniform(0, 0.05) * np.sin(3 * (x + y) + rng.uniform(0, 6))
    p = periods * (cos * x + sin * y + bend + rng.uniform(-0.3, 0.3))
    q = periods * (cos * y - sin * x + bend + rng.uniform(-0.3, 0.3))
    inside = texture(p, q, rng.uniform(0.44, 0.56), rng)
    ink = np.clip(inside / (periods * pixel) + 0.5, 0, 1)[..., None]

    light = _colour(hue, rng.uniform(0.4, 0.8), 0.8)
    dark = _colour(hue + rng.uniform(0.35, 0.65), rng.uniform(0.6, 0.9), 0.2)
    first, second = (light, dark) if rng.uniform() < 0.5 else (dark, light)
    rim = _colour(hue + rng.uniform(-0.1, 0.1), 0.5, 0.9)
    colour = second + ink * (first - second)
    edge = np.clip((0.08 - depth) / pixel + 0.5, 0, 1)[..., None]
    colour = colour + edge * (rim - colour)
    # Darker to the edge: it looks round.
    colour *= (0.72 + 0.28 * np.sqrt(np.clip(depth / 0.35, 0, 1)))[..., None]
    return cv2.convertScaleAbs(np.dstack([colour * opacity[..., None], opacity]), alpha=255)


def _cos_sin(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


class _Wave:
    """A number that swings smoothly about a random middle during a video."""

    def __init__(self, rng: np.random.Generator, low: float, high: float, swing: float) -> None:
        self.middle = rng.uniform(low, high)
        self.swing = swing * rng.uniform(0.5, 1)
        self.cycles = rng.uniform(0.4, 0.9)
        self.phase = rng.uniform(0, 2 * math.pi)

    def __call__(self, time: float) -> float:
        return self.middle + self.swing * math.sin(2 * math.pi * self.cycles * time + self.phase)


def _placement(centre: tuple[float, float], angle: float, scale: float, source: int) -> np.ndarray:
    """Returns the affine map (2, 3) of a square bitmap's middle to `centre`, turned and scaled."""
    cos, sin = _cos_sin(angle)
    linear = scale * np.array([[cos, -sin], [sin, cos]])
    shift = np.array(centre) - linear @ np.full(2, (source - 1) / 2)
    return np.column_stack([linear, shift])


def _hue_turn(angle: float) -> np.ndarray:
    """Returns the matrix (3, 3) that turns RGB colours about the gray axis."""
    cos, sin = _cos_sin(angle)
    third = (1 - cos) / 3
    off = sin / math.sqrt(3)
    same, right, left = cos + third, third - off, third + off
    return np.array([[same, right, left], [left, same, right], [right, left, same]])


class Scene:
    """One of `THINGS` that moves over a background under changing light."""

    def __init__(self, thing: str, rng: np.random.Generator) -> None:
        hue = rng.uniform()
        self.thing = _draw_thing(*THINGS[thing], hue, rng)
        self.backdrop = _draw_backdrop(hue + rng.choice([0.2, 0.8]), rng)
        self.shadow = cv2.GaussianBlur(self.thing[..., 3], (0, 0), 5)
        self.shadow_offset = rng.uniform(-4, 4, 2)

        self.size = _Wave(rng, 0.8, 1.0, 0.07)
        room = 0.62 - self.size.middle / 2
        self.x = _Wave(rng, 0.5 - room / 2, 0.5 + room / 2, room)
        self.y = _Wave(rng, 0.5 - room / 2, 0.5 + room / 2, room)
        self.angle = _Wave(rng, -0.2, 0.2, 0.35)
        pan_x, pan_y = _Wave(rng, -6, 6, 14), _Wave(rng, -6, 6, 14)
        self.camera = [pan_x, pan_y, _Wave(rng, 0, 2 * math.pi, 0.2)]

        self.hue = _Wave(rng, -math.pi, math.pi, 3.0)
        self.gains = [_Wave(rng, 0.95, 1.05, 0.15) for _ in range(3)]
        self.brightness = _Wave(rng, 0.9, 1.0, 0.25)
        self.light_slope = rng.uniform(0.1, 0.3)
        self.light_angle = _Wave(rng, 0, 2 * math.pi, 1.5)
        self.blur = max(0.0, rng.uniform(-0.5, 0.5))
        self.grain = rng.uniform(0.5, 2)
        self.rng = rng

    def draw(self, time: float) -> np.ndarray:
        """Returns the frame (H, W, 3), uint8 RGB, at a time from 0 (start) to 1 (end)."""
        colours = np.diag([gain(time) for gain in self.gains]) @ _hue_turn(self.hue(time))
        frame = cv2.transform(self._compose(time), colours)
        frame *= self._light(time)
        frame += self.grain * self.rng.standard_normal(frame.shape, np.float32)
        if self.blur:
            frame = cv2.GaussianBlur(frame, (0, 0), self.blur)
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)

    def _compose(self, time: float) -> np.ndarray:
        """Returns the thing and its shadow over the background, float32 in [0, 255]."""
        size, fine = FRAME_SIZE, FRAME_SIZE * _SUPERSAMPLING
        x, y = size * self.x(time), size * self.y(time)
        angle, scale = self.angle(time), self.size(time) * size * _SPRITE_EXTENT / _SPRITE_SIZE

        centre = fine / size * x, fine / size * y
        place = _placement(centre, angle, scale * _SUPERSAMPLING, _SPRITE_SIZE)
        thing = cv2.warpAffine(self.thing, place, (fine, fine))
        thing = cv2.resize(thing, (size, size), interpolation=cv2.INTER_AREA)
        centre = x + self.shadow_offset[0], y + self.shadow_offset[1]
        place = _placement(centre, angle, scale, _SPRITE_SIZE)
        shadow = cv2.warpAffine(self.shadow, place, (size, size))

        pan_x, pan_y, turn = (wave(time) for wave in self.camera)
        place = _placement((size / 2 + pan_x, size / 2 + pan_y), turn, 1.0, _BACKDROP_SIZE)
        border = cv2.BORDER_REFLECT_101
        ground = cv2.warpAffine(self.backdrop, place, (size, size), borderMode=border)

        beside_thing = 1 - thing[..., 3:] * np.float32(1 / 255)
        beside_shadow = 1 - shadow[..., None] * np.float32(0.45 / 255)
        return ground * (beside_thing * beside_shadow) + thing[..., :3]

    def _light(self, time: float) -> np.ndarray:
        """Returns the light on each pixel (H, W, 1)."""
        cos, sin = _cos_sin(self.light_angle(time))
        axis = np.linspace(-self.light_slope, self.light_slope, FRAME_SIZE, dtype=np.float32)
        return (self.brightness(time) + cos * axis[None, :] + sin * axis[:, None])[..., None]


def write_file(root: Path, name: str, seed: int) -> int:
    """Draws one file of the data set, which depends only on name and seed, and returns its size in bytes.

    The name is the path below the root, `<images or videos>/<split>/<class>/<number>.<jpg or mp4>`.
    """
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], 'little')])
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + '.tmp')
    scene = Scene(path.parent.name, rng)
    if path.suffix == '.jpg':
        _write_image(unfinished, scene.draw(rng.uniform()))
    else:
        write_video(unfinished, [scene.draw(time) for time in np.linspace(0, 1, NUM_FRAMES)])
    os.replace(unfinished, path)  # by hand: a worker imports nothing of vicmae
    return path.stat().st_size


def _write_image(path: Path, frame: np.ndarray) -> None:
    _, data = cv2.imencode('.jpg', frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    path.write_bytes(data.tobytes())


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Writes frames (FRAME_SIZE, FRAME_SIZE, 3), uint8, RGB, as H.264."""
    container_options = {'movflags': '+faststart'}
    codec_options = {
        'preset': 'veryfast',
        'tune': 'fastdecode',
        'crf': '20',
        'bf': '0',
        'g': str(KEYFRAME_INTERVAL),
        'threads': '1',
        # x264's look-ahead reads uninitialised memory: one video in a hundred would differ.
        'x264-params': 'log-level=error:scenecut=0:rc-lookahead=0:mbtree=0',
    }
    with av.open(str(path), 'w', format='mp4', options=container_options) as container:
        stream = container.add_stream('libx264', rate=FRAME_RATE, options=codec_options)
        stream.width = stream.height = FRAME_SIZE
        stream.pix_fmt = 'yuv420p'
        stream.time_base = Fraction(1, FRAME_RATE)
        for index, pixels in enumerate(frames):
            planes = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, format='yuv420p')
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> int:
    """Writes the files that standard input names, one per line.

    For each it prints a line `size<TAB>name`, or `error<TAB>message` before it ends.
    """
    cv2.setNumThreads(0)  # 1 would wait for threads that a fork has left behind
    root, seed = Path(sys.argv[1]), int(sys.argv[2])
    try:
        for name in sys.stdin.read().splitlines():
            # One system call per line: the workers share one pipe, and lines must not mix.
            os.write(1, f'{write_file(root, name, seed)}\t{name}\n'.encode())
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    except OSError as error:
        os.write(1, f'error\t{error}\n'.encode())
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
