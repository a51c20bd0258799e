# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
import os
import re
from collections.abc import Sequence

import numpy as np

from vicmae.environment import require_decoder
from vicmae.errors import DataError, EnvironmentFault

from .reader import VideoReader

require_decoder()

try:
    import decord
except (ImportError, OSError) as error:
    raise EnvironmentFault(
        f'vicmae cannot read videos here: decord is installed, but importing it fails: {error}. '
        'Install it anew: pip install --force-reinstall --no-deps decord'
    ) from error

# FFmpeg's many lines about a damaged file; what matters is in the exception. (decord adds one of its own.)
decord.logging.set_level(decord.logging.QUIET)

_SOURCE = re.compile(r'^(\[[\d:]+\] \S+:\d+: )+')  # [01:49:12] /decord/src/video_reader.cc:83:


class DecordReader(VideoReader):
    """Reads with decord, one thread: parallelism comes from the loader's workers."""

    def __init__(self, source: str | bytes, name: str) -> None:
        self.name = path = name
        if isinstance(source, str) and not os.path.isfile(source):
            raise DataError(f'There is no video {path!r}.')
        try:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            self._reader = decord.VideoReader(file, num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise DataError(
                f"Can't open the video {path!r}: {_reason(error)}. Take it out of the data, then go on with `--resume`."
            ) from error
        self.num_frames = len(self._reader)
        self.fps = float(self._reader.get_avg_fps())
        self.height, self.width = self._reader[0].shape[:2]

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        ids = np.floor(np.asarray(seconds) * self.fps).astype(int)
        return ids.clip(0, self.num_frames - 1).tolist()

    def close(self) -> None:
        del self._reader

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        try:
            return list(self._reader.get_batch(list(ids)).asnumpy())
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise DataError(
                f"Can't decode frames {list(ids)} of the video {self.name!r}, which says it has "
                f'{self.num_frames}: {_reason(error)}'
            ) from error


def _reason(error: Exception) -> str:
    """The first line of decord's message that isn't its own stack trace, without its source location."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return _SOURCE.sub('', lines[0]) if lines else type(error).__name__
