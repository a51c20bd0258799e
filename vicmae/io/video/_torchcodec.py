# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os
from typing import Any

import numpy as np

from vicmae.environment import missing_reader

from ._pyav import PyavVideo
from ._refusal import Refusal, refusals, some

try:
    import torchcodec
    from torchcodec.decoders import VideoDecoder

    if getattr(torchcodec, 'ffmpeg_major_version', 0) is None:  # since 0.17 no error by itself
        raise ImportError("it can't load FFmpeg's shared libraries")
except (ImportError, OSError, RuntimeError) as error:
    raise missing_reader('torchcodec', error) from error


class TorchcodecDecoder:
    """Decodes a file with torchcodec, and verifies the times of its frames.

    `video` is the same file, indexed by PyAV.

    torchcodec 0.17 leaks 0.9 kB per opened file.
    """

    def __init__(self, source: str | bytes, video: PyavVideo) -> None:
        self._index = index = video.index
        video.require_seekable()
        video.require_plain_turn()
        quick = index.is_plain and index.is_steady
        self._decoder = self._open(source, 'approximate' if quick else 'exact')
        if len(self._decoder) != index.num_frames:
            self._decoder = self._open(source, 'exact')
        if len(self._decoder) != index.num_frames:
            raise Refusal(f'it finds {len(self._decoder)} frames instead of {index.num_frames}')

    def _open(self, source: str | bytes, seek_mode: str) -> Any:
        with refusals():
            return VideoDecoder(
                os.path.abspath(source) if isinstance(source, str) else source,
                dimension_order='NHWC',
                num_ffmpeg_threads=1,  # the loader's workers run in parallel
                device='cpu',
                seek_mode=seek_mode,
            )

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        with refusals():
            batch = self._decoder.get_frames_at(ids)
            frames, seconds = batch.data.numpy(), batch.pts_seconds.numpy()
        if len(frames) != len(ids):
            raise Refusal(f'it returned {len(frames)} of {len(ids)} frames')
        wrong = np.abs(seconds - self._index.seconds[ids]) > self._index.tick / 2
        if wrong.any():
            raise Refusal(
                f'it returned other frames instead of {some(np.asarray(ids)[wrong].tolist())}'
            )
        return dict(zip(ids, frames, strict=True))

    def close(self) -> None:
        del self._decoder
