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

# FFmpeg's many lines about a damaged file; what matters is in the exception. (decord adds one of its own.)
decord.logging.set_level(decord.logging.QUIET)


class DecordDecoder:
    """Decodes with decord, one thread: parallelism comes from the loader's workers.

    decord counts frames from the key frame that it sought, and can't tell the time of what it returns. So it
    only gets files whose frames can't be miscounted: others are refused.

    Args:
        source: Path, or the bytes of a file.
        video: The same file, open.
    """

    def __init__(self, source: str | bytes, video: PyavVideo) -> None:
        video.require_seekable()
        if not video.index.is_plain:
            raise Refusal(
                'it miscounts frames where not every packet and key frame stands for itself'
            )
        video.require_plain_turn()
        with refusals():
            file = io.BytesIO(source) if isinstance(source, bytes) else os.path.abspath(source)
            # Frames that can't be decoded would be replaced by others, of which this tolerates none.
            self._reader = decord.VideoReader(file, num_threads=1, fault_tol=1e-9)
        if len(self._reader) != video.index.num_frames:
            raise Refusal(
                f'it finds {len(self._reader)} frames instead of {video.index.num_frames}'
            )

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Decodes frames by number, ascending: each (H, W, 3), uint8, RGB, upright."""
        with refusals():
            frames = self._reader.get_batch(ids).asnumpy()
        if len(frames) != len(ids):
            raise Refusal(f'{len(frames)} of {len(ids)} came')
        return dict(zip(ids, frames, strict=True))

    def close(self) -> None:
        """Lets go of the file."""
        del self._reader
