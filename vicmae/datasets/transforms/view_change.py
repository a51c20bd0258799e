# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from abc import abstractmethod
from typing import Any

import numpy as np

from .base import Transform


class ViewChange(Transform):
    """Base of random augmentations of a view, in two steps: draw and apply.

    As a transform, it does both. With `TwoViews(on_device=True)` it only draws, and the model's data preprocessor
    applies the augmentations to a batch.

    **Required keys:** img (H, W, 3), uint8, RGB; rng. **Modified keys:** img.

    Args:
        prob: Probability that the view is changed.
    """

    stage: str  # one of `vicmae.structures.STAGES`

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'`prob` is a probability in [0, 1], got {prob}.')
        self.prob = prob

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draws the values of fields of `vicmae.structures.UNCHANGED`; empty if nothing changes."""
        return self.draw_change(rng) if rng.random() < self.prob else {}

    @abstractmethod
    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        """Draws the values for a view that is changed."""

    @abstractmethod
    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        """Changes one image by the drawn values."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        drawn = self.draw(results['rng'])
        return {**results, 'img': self.apply(results['img'], drawn)} if drawn else results
