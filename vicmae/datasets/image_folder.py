# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.registry import DATASETS

from .file_source import FileSource


@DATASETS.register_module()
class ImageFolder(FileSource):
    """Images from class folders, any folder, or a list file. See `FileSource` for the arguments."""

    kind = 'image'
    extensions = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif', '.ppm', '.pgm')
