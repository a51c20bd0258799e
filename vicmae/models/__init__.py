# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import warnings

with warnings.catch_warnings():
    # mmcv's compiled operators are not needed.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    from .aggregators import *  # noqa: F403
    from .algorithms import *  # noqa: F403
    from .backbones import *  # noqa: F403
    from .classifiers import *  # noqa: F403
    from .contrastive_cache import *  # noqa: F403
    from .data_preprocessors import *  # noqa: F403
    from .heads import *  # noqa: F403
    from .losses import *  # noqa: F403
    from .masking import *  # noqa: F403
    from .necks import *  # noqa: F403
    from .targets import *  # noqa: F403
