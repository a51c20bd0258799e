# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class ViCMAEHead(nn.Module):
    """Weights the two losses: L = reconstruction_weight * L_MASK + contrastive_weight * L_NEG (ViC-MAE, equation 7).

    A third loss, not of the paper, can be added: the order of frames.

    Args:
        reconstruction: Loss of predicted and true patches. None trains with the contrastive loss only.
        contrastive: Loss of the predictions and targets of both views. None trains a plain MAE.
        reconstruction_weight: Weight of the reconstruction loss, at least 0.
        contrastive_weight: Weight of the contrastive loss, at least 0. `LossWeightScheduleHook` can change it in
            training.
        order: Loss that compares the order of the frames of a video with the predicted one, a `FrameOrderLoss`.
        order_weight: Weight of the loss of order, at least 0.
    """

    def __init__(
        self,
        *,
        reconstruction: nn.Module | None = None,
        contrastive: nn.Module | None = None,
        reconstruction_weight: float = 1.0,
        contrastive_weight: float = 0.03,
        order: nn.Module | None = None,
        order_weight: float = 0.03,
    ) -> None:
        super().__init__()
        if reconstruction is None and contrastive is None:
            raise ValueError(
                'ViCMAEHead has neither `reconstruction` nor `contrastive`. Set at least one loss.'
            )
        weights = dict(
            reconstruction=reconstruction_weight,
            contrastive=contrastive_weight,
            order=order_weight,
        )
        for name, weight in weights.items():
            if not weight >= 0:
                raise ValueError(
                    f'`{name}_weight` must not be negative, got {weight}. With 0 a loss is only logged.'
                )
        self.reconstruction = reconstruction
        self.contrastive = contrastive
        self.reconstruction_weight = reconstruction_weight
        self.contrastive_weight = contrastive_weight
        self.order = order
        self.order_weight = order_weight

    def weigh(self, **values: Tensor) -> dict[str, Tensor]:
        """Adds the weighted `reconstruction`, `contrastive` and `order` as `loss_*`. Other values are only logged."""
        losses = {}
        for name, value in values.items():
            if name in ('reconstruction', 'contrastive', 'order'):
                losses[f'loss_{name}'] = getattr(self, f'{name}_weight') * value
            losses[name] = value.detach()
        if 'contrastive' in values:
            losses['contrastive_weight'] = values['contrastive'].new_tensor(self.contrastive_weight)
        return losses
