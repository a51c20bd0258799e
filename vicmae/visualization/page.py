# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What all pages have in common: one HTML file that can be sent around.

A page loads nothing: pictures are data URIs, charts are inline SVG, and its content security policy forbids
the rest. It is readable without its script, which only names the values under the pointer.
"""

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from .page_style import SCRIPT, STYLE

_MAX_PNG_PIXELS = 256 * 256  # larger pictures are stored as JPEG, which is a tenth of the size

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def render_page(title: str, lede: str, sections: Iterable[str]) -> str:
    """A page as one string of HTML.

    Args:
        title: Heading.
        lede: What the page says in a sentence or two.
        sections: What follows, HTML.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p class="lede">{escape(lede)}</p>
</header>
{''.join(sections)}</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


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


def section(heading: str, note: str, content: str) -> str:
    """A part of the page: what it shows, in words, and the HTML that does."""
    return f'<section>\n<h2>{escape(heading)}</h2>\n<p>{escape(note)}</p>\n{content}\n</section>\n'


def empty(message: str) -> str:
    """Stands where there is nothing to show, and says so."""
    return f'<p class="empty">{escape(message)}</p>'


def count(number: int, noun: str) -> str:
    """A number with its noun, which takes an s."""
    return f'{number:,} {noun}' if number == 1 else f'{number:,} {noun}s'


def picture(
    pixels: np.ndarray, alt: str, *, width: int, max_png_pixels: int = _MAX_PNG_PIXELS
) -> str:
    """An image element of a width in CSS pixels, from (H, W, 3), uint8, RGB."""
    rows, columns = pixels.shape[:2]
    return (
        f'<img src="{picture_uri(pixels, max_png_pixels)}" width="{width}" '
        f'height="{max(1, round(width * rows / columns))}" alt="{escape(alt)}">'
    )


def picture_uri(pixels: np.ndarray, max_png_pixels: int = _MAX_PNG_PIXELS) -> str:
    """A picture as a data URI: PNG, which keeps every pixel, or JPEG where it is larger than that."""
    name, options = 'png', {'optimize': 1}
    if pixels.shape[0] * pixels.shape[1] > max_png_pixels:
        name, options = 'jpeg', {'quality': 90}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return f'data:image/{name};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def check_picture(pixels: np.ndarray, name: str) -> None:
    """Refuses what is no RGB picture in bytes."""
    shape, dtype = np.shape(pixels), getattr(pixels, 'dtype', type(pixels).__name__)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(
            f'`{name}` must be a uint8 array of shape (H, W, 3), got {dtype} of shape {tuple(shape)}. '
            'Bring values to 0..255 and channels to the end first.'
        )
