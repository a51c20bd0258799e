# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What all pages have in common: one HTML file that can be sent around.

A page loads nothing: pictures are data URIs, charts are inline SVG, and its content security policy forbids
the rest, scripts too.
"""

import base64
import io
import os
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .charts import inline_svg

_MAX_PNG_PIXELS = 256 * 256  # larger pictures are stored as JPEG, which is a tenth of the size


def render_page(template: str, **values: Any) -> str:
    """Fills a template with values, in which text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('vicmae.visualization'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    shared = dict(count=count, inline_svg=inline_svg, picture=picture)
    return environment.get_template(template).render(**shared, **values)


def write_page(page: str, path: str | Path) -> Path:
    """Writes a page whole or not at all: an older one stays until the new one is complete.

    Args:
        page: HTML.
        path: The file; its folder is made where it is missing.

    Returns:
        The path that was written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        # A file name that is not Unicode must not cost the page: the browser shows a replacement.
        unfinished.write_text(page, encoding='utf-8', errors='xmlcharrefreplace')
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def count(number: int, noun: str, plural: str = '') -> str:
    """A number with its noun, which takes an s where no other plural is given."""
    return f'{number:,} {noun if number == 1 else plural or noun + "s"}'


def picture(
    pixels: np.ndarray, alt: str, *, width: int, max_png_pixels: int = _MAX_PNG_PIXELS
) -> str:
    """An image element of a width in CSS pixels, from (H, W, 3), uint8, RGB.

    It is stored as PNG, which keeps every pixel, or as JPEG where it is larger than so many pixels.
    """
    rows, columns = pixels.shape[:2]
    name, options = 'png', {'optimize': 1}
    if rows * columns > max_png_pixels:
        name, options = 'jpeg', {'quality': 90}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    uri = f'data:image/{name};base64,{base64.b64encode(buffer.getvalue()).decode()}'
    height = max(1, round(width * rows / columns))
    return f'<img src="{uri}" width="{width}" height="{height}" alt="{escape(alt)}">'


def check_picture(pixels: np.ndarray, name: str) -> None:
    """Refuses what is no RGB picture in bytes."""
    shape, dtype = np.shape(pixels), getattr(pixels, 'dtype', type(pixels).__name__)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(
            f'`{name}` must be a uint8 array of shape (H, W, 3), got {dtype} of shape {tuple(shape)}. '
            'Bring values to 0..255 and channels to the end first.'
        )
