# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .cosine import CosineLoss
from .frame_order import FrameOrderLoss
from .info_nce import InfoNCELoss, info_nce
from .latent_prediction import LatentPredictionLoss
from .pixel_reconstruction import PixelReconstructionLoss, denormalize_patches, normalize_patches
from .sigreg import SIGRegLoss
from .vicreg import VICRegLoss

__all__ = [
    'CosineLoss',
    'FrameOrderLoss',
    'InfoNCELoss',
    'LatentPredictionLoss',
    'PixelReconstructionLoss',
    'SIGRegLoss',
    'VICRegLoss',
    'denormalize_patches',
    'info_nce',
    'normalize_patches',
]
