# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images in files or in memory. H W pixels, upright."""

import io

import numpy as np
from PIL import Image, ImageOps

from vicmae.errors import DataError


class EncodedImage:
    """An image whose size is known and whose pixels aren't decoded yet.

    Args:
        source: Path, or the bytes of a file.
        name: What messages call it, where `source` is bytes.

    Attributes:
        height, width: Of the upright image, in pixels.
    """

    def __init__(self, source: str | bytes, name: str | None = None) -> None:
        self.name = name or str(source)
        try:
            self._image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            turned = self._image.getexif().get(0x0112, 1) >= 5
        except Exception as error:
            raise DataError(f"Can't read the image {self.name!r}: {error}.") from error
        width, height = self._image.size
        self.height, self.width = (width, height) if turned else (height, width)

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decodes to (H, W, 3), uint8, RGB; both sides divided by `reduction`, rounded up, where that is cheaper.

        Args:
            reduction: 1, 2, 4 or 8.
        """
        try:
            return np.array(ImageOps.exif_transpose(self._image).convert('RGB'))
        except Exception as error:
            raise DataError(f"Can't read the image {self.name!r}: {error}.") from error
