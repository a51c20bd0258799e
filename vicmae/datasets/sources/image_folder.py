# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.registry import DATASETS

from .file_source import FileSource


@DATASETS.register_module()
class ImageFolder(FileSource):
    """Images from class folders, any folder, or a list file. See `FileSource` for the arguments.

    What is in a file counts, and not its extension: `vicmae.io.image` has the rules. HEIC is among them so
    that photos of a phone are not passed over in silence.
    """

    kind = 'image'
    extensions = (
        *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.apng', '.webp', '.avif', '.heic', '.heif'),
        *('.bmp', '.dib', '.tif', '.tiff', '.gif', '.ppm', '.pgm', '.pbm', '.pnm'),
        *('.jp2', '.j2k', '.tga', '.mpo', '.psd', '.qoi', '.pcx', '.sgi'),
    )
