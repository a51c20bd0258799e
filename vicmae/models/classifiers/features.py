# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of a pretrained backbone, without training."""

from typing import Any, NoReturn

from vicmae.checkpoints.fit import require_branch, take_branch
from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..feature_model import FeatureModel
from ..parts import require_parameter_free


@MODELS.register_module()
class FrozenFeatures(FeatureModel):
    """Computes features with a frozen backbone and a pooling, for kNN and for classifiers of stored features.

    `vicmae test CONFIG CHECKPOINT` loads only the backbone of the checkpoint: of any pretraining or classifier, of a
    converted official checkpoint, or of mmpretrain's `VisionTransformer`.

    Args:
        pretrained_branch: Weights to load: 'student', or 'teacher' for the EMA weights of an `EMATarget` or a
            `LatentPredictionLoss`.
        model: Arguments of `FeatureModel`. The aggregator must have no parameters.
    """

    takes_backbone_alone = True

    def __init__(self, *, pretrained_branch: str = 'student', **model: Any) -> None:
        super().__init__(**model)
        require_parameter_free(self.aggregator, 'FrozenFeatures has only the backbone')
        self.pretrained_branch = require_branch(pretrained_branch)
        self.requires_grad_(False)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Renames the backbone weights of a checkpoint to the names used here, in place."""
        names = [name for name in state_dict if name.startswith(prefix)]
        weights = {name.removeprefix(prefix): state_dict.pop(name) for name in names}
        backbone, other_weights = take_branch(weights, 'the checkpoint', self.pretrained_branch)
        state_dict.update({f'{prefix}{name}': other_weights[name] for name in other_weights})
        state_dict.update({f'{prefix}backbone.{name}': backbone[name] for name in backbone})

    def loss(self, *_: Any, **__: Any) -> NoReturn:
        """Raises an error, as it is not trained."""
        raise ConfigError(
            'FrozenFeatures is not trained: evaluate a checkpoint with `vicmae test CONFIG CHECKPOINT`. '
            'A probe that is trained is a TransferClassifier with `freeze_backbone=True`.'
        )
