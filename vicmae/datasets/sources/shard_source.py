# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images and videos in tar shards."""

from collections.abc import Sequence
from typing import Any

from vicmae.errors import DataError
from vicmae.io.shards.samples import ShardedSamples
from vicmae.io.video import FrameSequence
from vicmae.registry import DATASETS

from .catalogue import CatalogueSource
from .gap_fit import require_gap_fits


class ShardSource(CatalogueSource):
    """Samples in tar shards of the WebDataset layout: the base of `ImageShards` and `VideoShards`.

    Samples are read one by one, so that shuffling, ranks, workers and resuming work as for files. The index of a shard
    (`NAME.tar.index`, see `vicmae.io.shards.index`) is made if it is missing.

    A remote shard with an index is read in parts, if fsspec and its server support that. All others (`pipe:...` too)
    are downloaded once per machine, and again if the server reports another size, ETag or time.

    Args:
        shards: A folder; a path or URL with braces (`{000..099}`); a path with stars; or a list of these.
        cache_dir: Folder for downloads, `~/.cache/vicmae/shards` if empty.
        kwargs: Further arguments of `CatalogueSource`: `with_labels`, `max_per_class`, `pipeline`,
            `visits_per_opening`, `tags`.
    """

    kinds_in_shards: tuple[str, ...] = ()

    def __init__(self, shards: str | Sequence[str], *, cache_dir: str = '', **kwargs: Any) -> None:
        self._samples = ShardedSamples(shards, self.kinds_in_shards, cache_dir)
        super().__init__(self._samples, **kwargs)

    def get_data_info(self, index: int) -> dict[str, Any]:
        info = super().get_data_info(index)
        return {**info, 'media': self._open(self.number_of(index), info['path'])}

    def _open(self, number: int, path: str) -> Any:
        return self._samples.medium(number).read(0)


@DATASETS.register_module()
class ImageShards(ShardSource):
    """Images in tar shards. See `ShardSource` for the arguments."""

    kind = 'image'
    kinds_in_shards = ('image',)


@DATASETS.register_module()
class VideoShards(ShardSource):
    """Videos in tar shards, as files or as JPEG frames. A frame gap that is longer than any video is a DataError.

    Args:
        shards: See `ShardSource`.
        fps: Frames per second of JPEG frames without `fps` in their `.json`.
        kwargs: Further arguments of `ShardSource`.
    """

    kind = 'video'
    kinds_in_shards = ('video', 'frames')

    def __init__(
        self, shards: str | Sequence[str], *, fps: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(shards, **kwargs)
        if fps is not None and not 0 < fps < float('inf'):
            raise ValueError(f'`fps` must be a positive number, got {fps}.')
        self.fps = fps
        require_gap_fits(self)

    def _open(self, number: int, path: str) -> Any:
        medium = self._samples.medium(number)
        if medium.kind == 'video':
            return medium.read(0)
        fps = medium.fps or self.fps
        if not fps:
            raise DataError(
                f'The frames per second of {path!r} are unknown. Give `fps` to VideoShards, or pack it with a `.json` '
                'that has them.'
            )
        return FrameSequence(medium.read, medium.num_members, fps, path)
