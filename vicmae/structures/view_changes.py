# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The random changes of a view as numbers: drawn by a worker, applied on the device."""

from collections.abc import Mapping

import numpy as np

# Changes are applied in this order; those of a jitter in the order of their steps.
STAGES = ('flip', 'jitter', 'grayscale', 'blur', 'solarize')
STEPS = ('brightness', 'contrast', 'saturation', 'hue')

# The numbers of a view, with the values that change nothing.
UNCHANGED: dict[str, float] = dict(
    flip=0,  # 1: left and right are swapped
    brightness=1,  # three factors
    contrast=1,
    saturation=1,
    hue=0,  # turn of the colour circle, -0.5 to 0.5
    brightness_step=0,  # which of the four comes first (0) and which last (3)
    contrast_step=1,
    saturation_step=2,
    hue_step=3,
    grayscale=0,  # 1: without colours
    blur_sigma=0,  # pixels
    blur_width=0,  # of the kernel, in pixels; 0: computed from sigma
    blur_height=0,
    solarize=256,  # least value that is inverted
)
FIELDS = tuple(UNCHANGED)


def as_vector(changes: Mapping[str, float]) -> np.ndarray:
    """Returns the numbers of a view as float32, in the order of `FIELDS`; missing ones change nothing."""
    unknown = set(changes) - set(UNCHANGED)
    if unknown:
        raise ValueError(
            f'The changes of a view are numbers named {", ".join(FIELDS)}; got {", ".join(sorted(unknown))}.'
        )
    return np.array(list({**UNCHANGED, **changes}.values()), np.float32)
