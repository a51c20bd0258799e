# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained backbone whose features are used without training."""

from typing import Any, NoReturn

from vicmae.checkpoints.fit import require_branch, take_branch
from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..feature_model import FeatureModel
from ..parts import require_parameter_free


@MODELS.register_module()
class FrozenFeatures(FeatureModel):
    """A frozen backbone and a pooling: for kNN, and for classifiers of stored features.

    It loads only the backbone of the checkpoint that `tools/test.py` is given: of any pretraining or classifier here,
    of a converted official one, or of mmpretrain's `VisionTransformer`.

    Args:
        pretrained_branch: 'student', or 'teacher' for the EMA weights of an `EMATarget`.
        model: Arguments of `FeatureModel`. The aggregator must have no parameters.
    """

    takes_backbone_alone = True

    def __init__(self, *, pretrained_branch: str = 'student', **model: Any) -> None:
        super().__init__(**model)
        require_parameter_free(self.aggregator, 'FrozenFeatures takes the backbone alone')
        self.pretrained_branch = require_branch(pretrained_branch)
        self.requires_grad_(False)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Renames the backbone weights of a checkpoint to the names used here, in place."""
        names = [name for name in state_dict if name.startswith(prefix)]
        weights = {name.removeprefix(prefix): state_dict.pop(name) for name in names}
        backbone, rest = take_branch(weights, 'the checkpoint', self.pretrained_branch)
        state_dict.update({f'{prefix}{name}': rest[name] for name in rest})
        state_dict.update({f'{prefix}backbone.{name}': backbone[name] for name in backbone})

    def loss(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses training."""
        raise ConfigError(
            'FrozenFeatures is not trained: evaluate a checkpoint with `tools/test.py CONFIG CHECKPOINT`. '
            'A probe that is trained is a TransferClassifier with `freeze_backbone=True`.'
        )
