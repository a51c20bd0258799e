# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.io.extensions import IMAGE_EXTENSIONS
from vicmae.registry import DATASETS

from .file_source import FileSource


@DATASETS.register_module()
class ImageFolder(FileSource):
    """Images from class folders, any folder, or a list file. See `FileSource` for the arguments.

    The content of a file counts, not its extension: `vicmae.io.image` has the rules.
    """

    kind = 'image'
    extensions = IMAGE_EXTENSIONS
