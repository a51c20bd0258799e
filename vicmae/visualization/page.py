# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""HTML pages in one file.

A page loads nothing: pictures are data URIs, charts are inline SVG, and its content security policy forbids
everything else, including scripts.
"""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vicmae.utils.files import whole_file

from .charts import inline_svg

_MAX_PNG_PIXELS = 256 * 256  # larger pictures are stored as JPEG, at a tenth of the size


def render_page(template: str, **values: Any) -> str:
    """Fills a template with values, with escaped text."""
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
    """Writes a page, creates its folder, and returns the path; an older page stays until the new one is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        # For a file name that is not Unicode the browser shows a replacement.
        file.write(page.encode('utf-8', 'xmlcharrefreplace'))
    return path


def count(number: int, noun: str, plural: str = '') -> str:
    """Returns a number with its noun in singular or plural."""
    return f'{number:,} {noun if number == 1 else plural or noun + "s"}'


def picture(
    pixels: np.ndarray, alt: str, *, width: int, max_png_pixels: int = _MAX_PNG_PIXELS
) -> str:
    """Returns an image element of a width in CSS pixels, from (H, W, 3), uint8, RGB: a PNG, or a JPEG if large."""
    rows, columns = pixels.shape[:2]
    name, options = 'png', {'optimize': 1}
    if rows * columns > max_png_pixels:
        name, options = 'jpeg', {'quality': 90}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    uri = f'data:image/{name};base64,{base64.b64encode(buffer.getvalue()).decode()}'
    height = max(1, round(width * rows / columns))
    return f'<img src="{uri}" width="{width}" height="{height}" alt="{escape(alt)}">'
