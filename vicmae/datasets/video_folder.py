# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.registry import DATASETS

from .file_source import FileSource


@DATASETS.register_module()
class VideoFolder(FileSource):
    """Videos from class folders, any folder, or a list file. See `FileSource` for the arguments."""

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
