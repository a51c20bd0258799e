# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
import os

import numpy as np

from vicmae.environment import missing_reader

from ._pyav import PyavVideo
from ._refusal import Refusal, refusals

try:
    import decord
except (ImportError, OSError, RuntimeError) as error:
    raise missing_reader('decord', error) from error

# Silences the many lines of FFmpeg about a damaged file. The exception has the important one.
decord.logging.set_level(decord.logging.QUIET)


class DecordDecoder:
    """Decodes a file with decord. `video` is the same file, indexed by PyAV.

    decord counts frames from a key frame and doesn't return their times: files that it could miscount are refused.
    """

    def __init__(self, source: str | bytes, video: PyavVideo) -> None:
        video.require_seekable()
        if not video.index.is_plain:
            raise Refusal(
                'it miscounts frames unless each packet has one frame that key frames separate'
            )
        video.require_plain_turn()
        with refusals():
            file = io.BytesIO(source) if isinstance(source, bytes) else os.path.abspath(source)
            # With a larger `fault_tol`, frames that can't be decoded are replaced by others.
            self._reader = decord.VideoReader(file, num_threads=1, fault_tol=1e-9)
        if len(self._reader) != video.index.num_frames:
            raise Refusal(
                f'it finds {len(self._reader)} frames instead of {video.index.num_frames}'
            )

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        with refusals():
            frames = self._reader.get_batch(ids).asnumpy()
        if len(frames) != len(ids):
            raise Refusal(f'it returned {len(frames)} of {len(ids)} frames')
        return dict(zip(ids, frames, strict=True))

    def close(self) -> None:
        del self._reader
