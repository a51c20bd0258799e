# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np

from vicmae.errors import DataError
from vicmae.registry import DATASETS

from .file_source import FileSource
from .transforms import FixedGapFramePair
from .video_io import open_video

_MAX_VIDEOS_TRIED = 200


@DATASETS.register_module()
class VideoFolder(FileSource):
    """Videos from class folders, any folder, or a list file. See `FileSource` for the arguments.

    A frame gap in the pipeline that is longer than any of them is refused.
    """

    kind = 'video'
    extensions = (
        '.mp4',
        '.webm',
        '.mkv',
        '.avi',
        '.mov',
        '.m4v',
        '.mpg',
        '.mpeg',
        '.ts',
        '.flv',
        '.wmv',
        '.3gp',
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for sampler in (t for t in self.pipeline if isinstance(t, FixedGapFramePair)):
            self._require_fit(sampler)

    def _require_fit(self, sampler: FixedGapFramePair) -> None:
        """Looks for one video that is long enough, nearly always the first that it opens."""
        # A fixed seed, for the same answer each time; not in order, as neighbours in a list are often alike.
        tried = np.random.default_rng(0).permutation(len(self))[:_MAX_VIDEOS_TRIED]
        too_short = []  # frames, frames needed, path
        for index in tried:
            path = self.get_data_info(int(index))['path']
            try:
                video = open_video(path)
            except DataError:  # said when the sample is loaded
                continue
            if sampler.fits(video.num_frames, video.fps):
                return
            too_short.append((video.num_frames, sampler.gap_in_frames(video.fps) + 1, path))
        if not too_short:
            return
        num_frames, needed, path = max(too_short, key=lambda video: video[0] / video[1])
        which = f'{len(too_short)} videos{" tried" if len(tried) < len(self) else ""}'
        raise DataError(
            f'{sampler!r} is longer than any video: none of {which} fits. The longest, {path!r}, has '
            f'{num_frames} frames and would need {needed}. Lower `gap`, or take DistantFramePair, which '
            'takes a short video whole.'
        )
