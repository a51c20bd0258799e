# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Patch tokens as colours, by a principal component analysis (PCA)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_NUM_COLORS = 3
_OUTLIERS = 0.01  # share of the values at either end that are clipped
_ROUNDING = 1e-5  # deviations below this share of a token's length are not drawn


class PatchColors:
    """Maps tokens to red, green and blue: their first three principal components.

    The components and their scales are those of all tokens together, so that equal colours mean similar tokens in all
    inputs. The order of the inputs doesn't matter.

    Args:
        tokens: Tokens of all inputs, each (..., D).

    Attributes:
        explained: Share of the variance along each component, largest first, (3,).
    """

    def __init__(self, tokens: Sequence[Tensor]) -> None:
        rows = torch.cat([each.flatten(0, -2) for each in tokens]).double()
        self._mean = rows.mean(dim=0)
        centred = rows - self._mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
        self._directions = directions[:, -_NUM_COLORS:].flip(1)  # (D, 3)
        # The sign of a direction is arbitrary: make its largest entry positive.
        largest = self._directions.abs().argmax(dim=0, keepdim=True)
        self._directions = self._directions * self._directions.gather(0, largest).sign()
        values = (centred @ self._directions).numpy()
        self._low, high = np.quantile(values, (_OUTLIERS, 1 - _OUTLIERS), axis=0)
        self._span = high - self._low
        variances = variances.clamp(min=0)
        self.explained = (variances[-_NUM_COLORS:].flip(0) / variances.sum()).nan_to_num(0.0)
        length = float(rows.square().sum(dim=1).mean().sqrt())
        self._drawn = self._span > _ROUNDING * length

    def __call__(self, tokens: Tensor) -> np.ndarray:
        """Returns the colours of tokens, uint8: (..., D) -> (..., 3). Without differences, they are gray."""
        values = ((tokens.double() - self._mean) @ self._directions).numpy()
        share = (values - self._low) / np.where(self._drawn, self._span, 1.0)
        share = np.where(self._drawn, share, 0.5).clip(0, 1)
        return (255 * share).round().astype(np.uint8)
