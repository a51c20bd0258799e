# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.hooks import Hook

from vicmae.registry import HOOKS


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Sets whether a checkpoint of `load_from` or `--resume` has to fit the model.

    Args:
        strict: False to load what fits and report the rest, such as for a start from a converted MAE.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
