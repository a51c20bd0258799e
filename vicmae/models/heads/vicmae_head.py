# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The two losses and their weights. V views, B batch, M masked patches, P values per patch, E embedding."""

from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class ViCMAEHead(nn.Module):
    """L = reconstruction_weight * L_MASK + contrastive_weight * L_NEG (ViC-MAE, equation 7).

    What is called `loss_*` is what is added up and differentiated; the rest is for the log.

    Args:
        reconstruction: Compares predicted with true patches.
        contrastive: Compares the views' predictions with the views' targets.
        reconstruction_weight: Weight of the first.
        contrastive_weight: Weight of the second; `LossWeightScheduleHook` can move it in training.
    """

    def __init__(
        self,
        *,
        reconstruction: nn.Module,
        contrastive: nn.Module,
        reconstruction_weight: float = 1.0,
        contrastive_weight: float = 0.03,
    ) -> None:
        super().__init__()
        for name, weight in [
            ('reconstruction_weight', reconstruction_weight),
            ('contrastive_weight', contrastive_weight),
        ]:
            if weight < 0:
                raise ValueError(f'`{name}` must not be negative, got {weight}.')
        self.reconstruction = reconstruction
        self.contrastive = contrastive
        self.reconstruction_weight = reconstruction_weight
        self.contrastive_weight = contrastive_weight

    def loss(
        self, predicted: Tensor, patches: Tensor, predictions: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """Computes both losses.

        Args:
            predicted: The decoder's patches, (V*B, M, P).
            patches: The true ones, (V*B, M, P).
            predictions: Embeddings from the predictor, (V, B, E).
            targets: Embeddings to find among the batch's, (V, B, E).
        """
        reconstruction = self.reconstruction(predicted, patches)
        contrastive = self.contrastive(predictions, targets)
        return {
            'loss_reconstruction': self.reconstruction_weight * reconstruction,
            'loss_contrastive': self.contrastive_weight * contrastive,
            'reconstruction': reconstruction.detach(),
            'contrastive': contrastive.detach(),
            'contrastive_weight': contrastive.new_tensor(self.contrastive_weight),
        }
