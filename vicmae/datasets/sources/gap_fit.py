# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The check of frame gaps against the lengths of videos."""

import numpy as np

from vicmae.errors import DataError
from vicmae.io.video import open_video

from ..transforms import FixedGapFramePair
from .source import Source

_MAX_VIDEOS_TRIED = 200


def require_gap_fits(source: Source) -> None:
    """Raises DataError if the frame gap of a pipeline is longer than any video of a source."""
    for sampler in (t for t in source.pipeline if isinstance(t, FixedGapFramePair)):
        _require_fit(source, sampler)


def _require_fit(source: Source, sampler: FixedGapFramePair) -> None:
    # In random order, as neighbours in a list are often similar; with a fixed seed, for the same result each time.
    tried = np.random.default_rng(0).permutation(len(source))[:_MAX_VIDEOS_TRIED]
    too_short = []  # frames, frames needed, path
    for index in tried:
        try:
            info = source.get_data_info(int(index))
            path = info['path']
            with open_video(info.get('media', path), name=path) as video:
                num_frames, fps = video.num_frames, video.fps
        except DataError:  # reported when the sample is loaded
            continue
        if sampler.fits(num_frames, fps):
            return
        too_short.append((num_frames, sampler.gap_in_frames(fps) + 1, path))
    if not too_short:
        return
    num_frames, needed, path = max(too_short, key=lambda video: video[0] / video[1])
    videos = f'{len(too_short)} videos{" tried" if len(tried) < len(source) else ""}'
    raise DataError(
        f'{sampler!r} is longer than any video: none of {videos} fits. The longest, {path!r}, has '
        f'{num_frames} frames and would need {needed}. Lower `gap`, or use DistantFramePair, which '
        'takes a short video whole.'
    )
