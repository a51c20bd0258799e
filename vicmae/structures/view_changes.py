# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random augmentations of a view as numbers, drawn by a worker and applied on the device."""

from collections.abc import Mapping

import numpy as np

# Augmentations are applied in this order, those of a colour jitter in the order of their steps.
STAGES = ('flip', 'jitter', 'grayscale', 'blur', 'solarize')
STEPS = ('brightness', 'contrast', 'saturation', 'hue')

# The numbers of a view, with the values at which nothing changes.
UNCHANGED: dict[str, float] = dict(
    flip=0,  # 1: mirrored left to right
    brightness=1,  # factors
    contrast=1,
    saturation=1,
    hue=0,  # shift on the colour circle, -0.5 to 0.5
    brightness_step=0,  # position of the four steps, 0 to 3
    contrast_step=1,
    saturation_step=2,
    hue_step=3,
    grayscale=0,  # 1: converted to gray
    blur_sigma=0,  # pixels
    blur_width=0,  # of the kernel, in pixels; 0: computed from sigma
    blur_height=0,
    solarize=256,  # lowest value that is inverted
)
FIELDS = tuple(UNCHANGED)


def as_vector(changes: Mapping[str, float]) -> np.ndarray:
    """Returns the numbers of a view as float32, in the order of `FIELDS`; for missing ones nothing changes."""
    unknown = set(changes) - set(UNCHANGED)
    if unknown:
        raise ValueError(
            f'Unknown augmentation of a view. The names are {", ".join(FIELDS)}; got {", ".join(sorted(unknown))}.'
        )
    return np.array(list({**UNCHANGED, **changes}.values()), np.float32)
