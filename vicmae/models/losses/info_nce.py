# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The contrastive loss. V views, B batch, E embedding, W ranks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS
from vicmae.utils.distributed import gather_with_grad, rank_and_world_size


def info_nce(predictions: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """InfoNCE of two views over the batches of all ranks (ViC-MAE, equation 6).

    Each prediction has to find, among the targets of every sample and view but its own, that of its
    sample's other view. W ranks with B pairs each give the loss and, after DDP's averaging, the gradients
    of one process with W*B pairs; each rank holds the similarities of its own rows only.

    Args:
        predictions: Embeddings of this rank's views.
        targets: Embeddings to find.
        temperature: Divides the cosine similarities.

    Shape:
        (2, B, E), (2, B, E) -> (), the mean over this rank's 2B rows
    """
    num_views, batch_size, _ = predictions.shape
    if num_views != 2:
        raise ValueError(f'InfoNCE compares 2 views of a sample, got {num_views}.')
    rank, _ = rank_and_world_size()
    # Autocast off: in half precision, similarities over a small temperature lose what they compare.
    with torch.autocast(predictions.device.type, enabled=False):
        rows = F.normalize(predictions.float().flatten(0, 1), dim=-1)  # (2B, E)
        columns = gather_with_grad(F.normalize(targets.float().flatten(0, 1), dim=-1))  # (W*2B, E)
        logits = rows @ columns.T / temperature  # (2B, W*2B)
    num_rows = num_views * batch_size
    own = torch.arange(num_rows, device=logits.device) + rank * num_rows
    logits = logits.scatter(1, own[:, None], float('-inf'))  # the sample itself is no candidate
    other_view = own.view(num_views, batch_size).roll(1, dims=0).flatten()
    return F.cross_entropy(logits, other_view)


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """InfoNCE with the other samples of all ranks as negatives: the paper's L_NEG.

    With predictions equal to targets it is SimCLR's NT-Xent. See `info_nce`.

    Args:
        temperature: Divides the cosine similarities. The paper doesn't state it; the official code has 0.1.

    Shape:
        (2, B, E), (2, B, E) -> ()
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(
                f'`temperature` must be positive, got {temperature}. Usual values are 0.05 to 0.5.'
            )
        self.temperature = temperature

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return info_nce(predictions, targets, self.temperature)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'
