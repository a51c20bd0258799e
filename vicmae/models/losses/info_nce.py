# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Contrastive loss. V views, B batch, K patches, E embedding, W ranks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS
from vicmae.utils.distributed import gather_with_grad, rank_and_world_size

from .precision import full_precision
from .two_views import check_two_views


def info_nce(
    predictions: Tensor, targets: Tensor, temperature: float, compat_rank_local_ids: bool = False
) -> Tensor:
    """Computes InfoNCE of two views over the batches of all ranks (ViC-MAE, equation 6); see `InfoNCELoss`.

    The positive of a prediction is the target of its sample's other view; negatives are the targets of all other
    samples and views. W ranks with B pairs each give the loss and, after DDP's averaging, the gradients of one process
    with W*B pairs; each rank computes the similarities of its own rows only.

    Of samples with K patches each, the similarity is that of their patches: the mean over the patches of the prediction
    of the similarity to the closest patch of the target.

    Shape:
        (2, B, E), (2, B, E), or with patches (2, B, K, E), (2, B, K, E) -> (), the mean over this rank's 2B rows
    """
    check_two_views(predictions, targets, with_patches=predictions.ndim == 4)
    with full_precision(predictions, targets) as (predictions, targets):
        rows = F.normalize(predictions.flatten(0, 1), dim=-1)  # (2B, [K,] E)
        columns = gather_with_grad(F.normalize(targets.flatten(0, 1), dim=-1))  # (W*2B, [K,] E)
        logits = _similarities(rows / temperature, columns)  # (2B, W*2B)
        rank, _ = rank_and_world_size()
        ids = torch.arange(len(rows), device=rows.device) + rank * len(rows)
        # Exclude the sample itself. In place, as this is the largest tensor.
        logits.scatter_(1, ids[:, None], float('-inf'))
        positives = _rank_local_positives if compat_rank_local_ids else _other_view
        log_shares = logits.log_softmax(dim=1).gather(1, positives(ids, len(columns)))
        return -log_shares.logsumexp(dim=1).mean()


def _similarities(rows: Tensor, columns: Tensor) -> Tensor:
    """Compares each row with each column: (R, E), (C, E) -> (R, C), or (R, K, E), (C, K, E) -> (R, C)."""
    if rows.ndim == 2:
        return rows @ columns.T
    of_patches = rows.flatten(0, 1) @ columns.flatten(0, 1).T  # (R*K, C*K)
    closest = of_patches.unflatten(1, columns.shape[:2]).amax(dim=2)  # (R*K, C)
    return closest.unflatten(0, rows.shape[:2]).mean(dim=1)


def _other_view(ids: Tensor, num_columns: int) -> Tensor:
    """Maps the column of each row to that of the sample's other view: (2B,) -> (2B, 1)."""
    return ids.view(2, -1).flip(0).reshape(-1, 1)


def _rank_local_positives(ids: Tensor, num_columns: int) -> Tensor:
    """Finds the columns with the same position in the batch of any rank, in both views: (2B,) -> (2B, 2W).

    The row itself is among them, without effect: its logit is -inf.
    """
    batch_size = len(ids) // 2
    return ids[:, None] % batch_size + torch.arange(0, num_columns, batch_size, device=ids.device)


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """Computes InfoNCE, with the other samples of all ranks as negatives: the paper's L_NEG.

    If predictions are the targets, it is SimCLR's NT-Xent. See `info_nce`.

    Args:
        temperature: Divisor of the cosine similarities, above 0. The paper doesn't state it. The official code uses
            0.1.
        compat_rank_local_ids: Whether to reproduce an error of the official code, to compare with its runs. That code
            numbers pairs from 0 on every rank, and pairs with equal numbers count as positives. On W ranks, a row has
            2W - 1 positives, of which one is of its sample, and the loss is -log(sum of exp over the positives / sum of
            exp over all).

    Shape:
        (2, B, E), (2, B, E), or with patches (2, B, K, E), (2, B, K, E) -> ()
    """

    compares_patches = True  # see `contrast_patches` of `ViCMAE`

    def __init__(self, temperature: float = 0.1, *, compat_rank_local_ids: bool = False) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(
                f'`temperature` must be positive, got {temperature}. Usual values are 0.05 to 0.5.'
            )
        self.temperature = temperature
        self.compat_rank_local_ids = compat_rank_local_ids

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return info_nce(predictions, targets, self.temperature, self.compat_rank_local_ids)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}, compat_rank_local_ids={self.compat_rank_local_ids}'
