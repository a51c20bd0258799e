# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.hooks import Hook

from vicmae.registry import HOOKS


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Says how strictly `load_from` and `--resume` are: whether a checkpoint has to fit the model.

    The Runner loads by `vicmae.checkpoints.fit.load_weights`, which reports what became of each key either way.

    Args:
        strict: False to load what fits and report the rest, such as for a start from a converted MAE.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
