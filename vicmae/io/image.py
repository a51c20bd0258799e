# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Decodes images from files or memory to upright RGB. H W pixels.

The format is detected from the content, not from the extension. An image is read completely, or a `DataError` is
raised:

- Errors: truncated, empty or damaged data, a PNG with a wrong checksum, no file, EPS, HEIC without pillow-heif, and
  more than 179 million pixels (twice `PIL.Image.MAX_IMAGE_PIXELS`). Flipped bits in a complete JPEG are not detected.
- The orientation, in EXIF or in the format's metadata, is applied; a broken EXIF block is ignored.
- Gray, palette, CMYK (inverted, as by Adobe) and Lab images become RGB. Colour profiles are ignored.
- Transparent pixels become white.
- The first of several frames or pages is read, and the largest of several icons.
- White is 65535 in 16-bit gray (4095 in a 12-bit TIFF) and in 32-bit integers, 1 or 255 in floats. If values are
  outside that range, their minimum becomes black and their maximum white. NaN is black.
"""

from __future__ import annotations

import io
import logging
import os
import stat
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from vicmae.errors import DataError

REDUCTIONS = (1, 2, 4, 8)

_PILLOWS_LOGGER, _NOWHERE = logging.getLogger('PIL'), logging.NullHandler()
# Larger files, such as TIFFs with many pages, are not read at once: Pillow reads the parts that it needs.
_BYTES_AT_ONCE = 64 * 2**20
_END_OF_JPEG = b'\xff\xd9'
_SILENT_MARKERS = (0xE0, 0xDB, 0xC4, 0xDD, 0xFE)  # JFIF, tables, restart interval, comment
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by orientation, of (H, W, C)
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}
_CV2_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Chunks of a PNG that may hold its orientation, and may come after the pixels.
_PNG_METADATA = (b'eXIf', b'Raw profile type', b'XML:com.adobe.xmp')
_FOREIGN = {b'avif': 'AVIF', b'heic': 'HEIC', b'heix': 'HEIC', b'mif1': 'HEIF', b'msf1': 'HEIF'}


class EncodedImage:
    """An image before decoding, with the `height` and `width` of the upright image. It keeps no file open.

    Args:
        source: Path, or the bytes of a file.
        name: Its name in messages, if `source` is bytes.
    """

    def __init__(self, source: str | bytes, name: str | None = None) -> None:
        self.name = name or (f'{len(source)} bytes' if isinstance(source, bytes) else str(source))
        self._source = source
        with self._errors_named():
            if not isinstance(source, bytes):
                self._source = _read(source)
            size = plain_jpeg_size(self._source) if isinstance(self._source, bytes) else None
            if size is not None:
                (self.height, self.width), self._orientation, self._is_plain_jpeg = size, 1, True
                return
            with quiet_pillow(), self._open() as image:
                self._orientation = self._find_orientation(image)
                self.height, self.width = _upright_size(image, self._orientation)
                self._is_plain_jpeg = image.format == 'JPEG' and image.mode in ('L', 'RGB')

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decodes to (H, W, 3), uint8, RGB. The size of a JPEG is divided by one of `REDUCTIONS`, rounded up."""
        if reduction not in REDUCTIONS:
            raise ValueError(f'`reduction` must be one of {REDUCTIONS}, got {reduction!r}.')
        if min(self.height, self.width) < reduction:
            reduction = 1
        with self._errors_named():
            pixels = self._decode_plain_jpeg(reduction)
            if pixels is None:
                pixels = self._decode(reduction)
            turn = _TURNS.get(self._orientation)
            # Always copy: NumPy calls a reversed axis of one pixel contiguous, but torch refuses it.
            return pixels if turn is None else np.array(turn(pixels), order='C')

    def _decode_plain_jpeg(self, reduction: int) -> np.ndarray | None:
        """Decodes in half the time of `_decode`; returns None for images that only `_decode` reads."""
        data = self._source
        # OpenCV fills truncated files with gray, and converts CMYK differently.
        if not (self._is_plain_jpeg and isinstance(data, bytes) and data.endswith(_END_OF_JPEG)):
            return None
        flags = _CV2_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            return None
        return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)

    def _decode(self, reduction: int) -> np.ndarray:
        with quiet_pillow(), self._open() as image:
            if reduction > 1:
                width, height = image.size
                image.draft(None, (width // reduction, height // reduction))
            image.load()
            if image.format == 'PNG' and isinstance(self._source, bytes):
                _check_chunks(self._source)
            return to_rgb(image)

    def _open(self) -> Image.Image:
        source = self._source
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        # Targa files have no signature, so other files may be taken for one. Loading EPS runs a program.
        is_targa = image.format == 'TGA' and not self.name.lower().endswith('.tga')
        if is_targa or image.format == 'EPS':
            image.close()
            raise UnidentifiedImageError
        return image

    def _find_orientation(self, image: Image.Image) -> int:
        if image.format == 'TIFF':  # Pillow applies it
            return 1
        data = self._source if isinstance(self._source, bytes) else b''
        # Looking for metadata after the pixels of a PNG would make Pillow decode the pixels.
        if image.format == 'PNG' and data and not any(chunk in data for chunk in _PNG_METADATA):
            return 1
        try:
            orientation = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # the parser raises anything on broken data
            return 1
        return orientation if orientation in _TURNS else 1

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        # Decoders raise many types: struct.error, MemoryError, SyntaxError.
        except Exception as error:
            message = f"Can't read the image {self.name!r}: {self._reason(error)}."
            raise DataError(message) from error

    def _reason(self, error: Exception) -> str:
        if isinstance(error, UnidentifiedImageError):
            return self._describe_unknown()
        text = ' '.join(str(error).split()).rstrip('.')
        if isinstance(error, OSError):
            return error.strerror or text
        if isinstance(error, Image.DecompressionBombError):
            return text.partition(', could')[0]
        return f'{type(error).__name__}: {text}'

    def _describe_unknown(self) -> str:
        if isinstance(self._source, bytes):
            head = self._source[:24]
        else:
            with open(self._source, 'rb') as file:
                head = file.read(24)
        if not head:
            return 'it is empty'
        kind = _FOREIGN.get(head[8:12]) if head[4:8] == b'ftyp' else None
        if kind:
            return f'it is {kind}, which the installed Pillow cannot read; convert it to JPEG'
        return f'its format is unknown to Pillow; it begins with {head!r}'


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about a file, which is either an error here or read by the rules above."""
    passes_on, _PILLOWS_LOGGER.propagate = _PILLOWS_LOGGER.propagate, False
    _PILLOWS_LOGGER.addHandler(_NOWHERE)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', module=r'PIL\.')
            yield
    finally:
        _PILLOWS_LOGGER.removeHandler(_NOWHERE)
        _PILLOWS_LOGGER.propagate = passes_on


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Reads height and width of a JPEG without metadata, such as those that `tools/dataset_converters/pack.py` writes.

    This avoids opening it with Pillow, which takes as long as decoding a small image with OpenCV. Returns None for
    images that need Pillow: with metadata (maybe an orientation), another number of channels, or damage.
    """
    if not (data.startswith(b'\xff\xd8') and data.endswith(_END_OF_JPEG)):
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = (
            data[position + 1],
            int.from_bytes(data[position + 2 : position + 4], 'big'),
        )
        if marker in (0xC0, 0xC2):
            height, width = (
                int.from_bytes(data[i : i + 2], 'big') for i in (position + 5, position + 7)
            )
            small = 0 < height * width <= (Image.MAX_IMAGE_PIXELS or 0)
            return (height, width) if small and data[position + 9] in (1, 3) else None
        if marker not in _SILENT_MARKERS or length < 2:
            return None
        position += 2 + length
    return None


def _check_chunks(data: bytes) -> None:
    """Verifies the checksums of a PNG's critical chunks; Pillow verifies only the first."""
    position = 8  # after the signature
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], 'big')
        name = data[position + 4 : position + 8]
        is_needed = not name[0] & 0x20
        if is_needed and data[end : end + 4] != zlib.crc32(data[position + 4 : end]).to_bytes(
            4, 'big'
        ):
            raise OSError(f'its chunk {name!r} at byte {position} is damaged (wrong checksum)')
        if name == b'IEND':
            return
        position = end + 4


def _read(path: str) -> str | bytes:
    """Reads a file; returns the path of a large one."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a folder, or a pipe, which may block for ever
        raise OSError('it is not a regular file')
    if status.st_size > _BYTES_AT_ONCE:
        return path
    with open(path, 'rb') as file:
        return file.read()


def _upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    width, height = image.size
    # Depending on its version, Pillow gives the stored or the upright size.
    if image.format == 'TIFF':
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height, orientation = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT], tags.get(_ORIENTATION)
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts an image to (H, W, 3), uint8, RGB, by the rules above."""
    if image.mode == 'F' or image.mode.startswith('I'):
        return _gray_levels_to_rgb(image)
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa') or 'transparency' in image.info:
        image = image.convert('RGBA')
        page = Image.new('RGB', image.size, 'white')
        page.paste(image, mask=image)
        return np.array(page)
    if image.mode == 'LAB':
        lab, srgb = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
        image = ImageCms.buildTransform(lab, srgb, 'LAB', 'RGB').apply(image)
    return np.array(image.convert('RGB'))


def _gray_levels_to_rgb(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image)
    tags = image.tag_v2 if image.format == 'TIFF' else {}  # type: ignore[attr-defined]
    # A TIFF may use fewer bits than its data type has, such as the 12 bits of a sensor.
    whites = [1, 255] if image.mode == 'F' else [2 ** min(16, tags.get(_TIFF_BITS, [16])[0]) - 1]
    gray = _to_8_bits(levels, whites)
    if tags.get(_TIFF_PHOTOMETRIC) == 0:  # 0 is white; Pillow inverts only 8 bits
        gray = 255 - gray
    if 'transparency' in image.info:
        gray[levels == image.info['transparency']] = 255
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)


def _to_8_bits(levels: np.ndarray, whites: list[int]) -> np.ndarray:
    """Scales by the first of `whites` that no level exceeds, else by the range of the levels."""
    finite = levels[np.isfinite(levels)]
    minimum, maximum = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    usual = [(0.0, float(white)) for white in whites if minimum >= 0 and maximum <= white]
    low, high = usual[0] if usual else (minimum, maximum)
    scaled = (levels - np.float64(low)) * (255 / ((high - low) or 1.0))
    return np.nan_to_num(scaled, nan=0.0).clip(0, 255).round().astype(np.uint8)
