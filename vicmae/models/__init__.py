# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import warnings

# mmcv's compiled operators are not needed here; that they are absent is no news.
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')

from .aggregators import *  # noqa: E402, F403
from .algorithms import *  # noqa: E402, F403
from .backbones import *  # noqa: E402, F403
from .classifiers import *  # noqa: E402, F403
from .contrastive_cache import *  # noqa: E402, F403
from .data_preprocessors import *  # noqa: E402, F403
from .heads import *  # noqa: E402, F403
from .losses import *  # noqa: E402, F403
from .masking import *  # noqa: E402, F403
from .necks import *  # noqa: E402, F403
from .targets import *  # noqa: E402, F403
