# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A page of pictures of what a search has found. H W pixels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vicmae.datasets.clip_reader import is_video
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import open_video
from vicmae.visualization.page import render_page

from .search import Found, Place

_SIDE = 240  # pixels of the longer side of a picture


def render_found(found: Sequence[Found], *, features: str, num_rows: int) -> str:
    """Returns the page as HTML: a section for each query, with the middle frame of each row."""
    lede = f'The rows of {features} ({num_rows:,}) nearest to each query, by the cosine similarity of their features.'
    return render_page(
        'search.html',
        title='Nearest rows',
        lede=lede,
        found=found,
        look_at=_look_at,
        describe_time=describe_time,
    )


def describe_time(place: Place) -> str:
    """Describes which part of a video a row shows; empty for an image."""
    if not is_video(place.path) or not place.times:
        return ''
    first, last = place.times[0], place.times[-1]
    return f'{_clock(first)} - {_clock(last)}' if last > first else _clock(first)


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    hour = f'{hours}:{minutes:02d}' if hours else f'{minutes}'
    return f'{hour}:{rest // 10:02d}.{rest % 10}'


def _look_at(place: Place) -> np.ndarray | str:
    """Reads the middle frame of a row, (H, W, 3), or returns why it can't be read."""
    try:
        if is_video(place.path):
            with open_video(place.path) as video:
                (pixels,) = video.frames([place.frames[len(place.frames) // 2]])
        else:
            pixels = EncodedImage(place.path).decode()
    except DataError as error:
        return str(error)
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)
