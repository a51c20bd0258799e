# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained backbone whose features are compared as they are."""

from typing import Any, NoReturn

from vicmae.checkpoints.fit import require_branch, take_branch
from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..feature_model import FeatureModel
from ..parts import Part, require_parameter_free


@MODELS.register_module()
class FrozenFeatures(FeatureModel):
    """The backbone of any checkpoint and a pooling: for kNN, and for classifiers that learn from stored features.

    Of the checkpoint that `tools/test.py` is given, it takes the backbone and leaves the rest: of any pretraining here,
    of a classifier, of a converted official one, or mmpretrain's `VisionTransformer`.

    Args:
        backbone: Encodes images, or clips.
        aggregator: Pools tokens to one vector, without parameters: `MeanPooling`, `ClsPooling`, ...
        pretrained_branch: 'student', or 'teacher' for the averaged weights of an `EMATarget`.
        data_preprocessor: Brings pixels to the device and normalises them.
        init_cfg: MMEngine's initialisation.
    """

    takes_backbone_alone = True

    def __init__(
        self,
        *,
        backbone: Part,
        aggregator: Part,
        pretrained_branch: str = 'student',
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            aggregator=aggregator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        require_parameter_free(self.aggregator, 'FrozenFeatures takes the backbone alone')
        self.pretrained_branch = require_branch(pretrained_branch)
        self.requires_grad_(False)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Gives the backbone of a checkpoint the names that it has here, in place."""
        own = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
        weights = {name.removeprefix(prefix): own[name] for name in own}
        found, rest = take_branch(weights, 'the checkpoint', self.pretrained_branch)
        state_dict.update({f'{prefix}{name}': rest[name] for name in rest})
        state_dict.update({f'{prefix}backbone.{name}': found[name] for name in found})

    def loss(self, *_: Any, **__: Any) -> NoReturn:
        """There is none."""
        raise ConfigError(
            'FrozenFeatures is not trained: measure a checkpoint with `tools/test.py CONFIG CHECKPOINT`. '
            'A probe that is trained is a TransferClassifier with `freeze_backbone=True`.'
        )
