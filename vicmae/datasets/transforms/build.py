# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import Any

from mmcv.transforms import Compose

from vicmae.registry import TRANSFORMS


def build_pipeline(transforms: Sequence[Any]) -> Compose:
    """Chains transforms, given as configs or built.

    Built by our registry: MMEngine's would find ours only where a default scope is set, in a run.
    """
    return Compose([TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms])
