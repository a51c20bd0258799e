# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

from vicmae.io.extensions import VIDEO_EXTENSIONS
from vicmae.registry import DATASETS

from .file_source import FileSource
from .gap_fit import require_gap_fits


@DATASETS.register_module()
class VideoFolder(FileSource):
    """Videos from class folders, any folder, or a list file. See `FileSource` for the arguments.

    A frame gap that is longer than any video is a DataError.
    """

    kind = 'video'
    extensions = VIDEO_EXTENSIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_gap_fits(self)
