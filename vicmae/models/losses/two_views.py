# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks the inputs of losses on embeddings. V views, B batch, K patches, E embedding."""

from torch import Tensor


def check_two_views(predictions: Tensor, targets: Tensor, with_patches: bool = False) -> None:
    """Checks that there are two views of embeddings, with targets of the same shape."""
    if predictions.ndim != 3 + with_patches or len(predictions) != 2:
        raise ValueError(
            'The loss compares 2 views of each sample, so `predictions` must have the shape (2, B, E), '
            f'got {tuple(predictions.shape)}. Stack the embeddings of the two views.'
        )
    if predictions.shape != targets.shape:
        raise ValueError(
            f'`predictions` and `targets` must have the same shape, got {tuple(predictions.shape)} and '
            f'{tuple(targets.shape)}. '
            "Set the same `out_dim` for the predictor and the target's head."
        )
