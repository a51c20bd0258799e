# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .base import BasePretrainer
from .mae import MAE
from .mae_st import MAEST
from .omni_mae import OmniMAE
from .simclr import SimCLR
from .vicmae import ViCMAE
from .video_mae import VideoMAE

__all__ = ['MAE', 'MAEST', 'BasePretrainer', 'OmniMAE', 'SimCLR', 'ViCMAE', 'VideoMAE']
