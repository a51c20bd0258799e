# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .info_nce import InfoNCELoss, info_nce
from .pixel_reconstruction import PixelReconstructionLoss, denormalize_patches, normalize_patches

__all__ = [
    'InfoNCELoss',
    'PixelReconstructionLoss',
    'denormalize_patches',
    'info_nce',
    'normalize_patches',
]
