# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook

from vicmae.errors import CheckpointError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped

_MOST_NAMED = 6


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuses a checkpoint that doesn't fit the model, and says which keys.

    MMEngine loads what happens to fit and mentions the rest in the log, so that a test of the wrong config
    gives a figure for random weights.

    Args:
        strict: False to load what fits and say what doesn't, such as for a start from a converted MAE.
    """

    priority = 'VERY_HIGH'

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compares keys and shapes before anything is loaded."""
        model = unwrapped(runner.model)
        state = checkpoint.get('state_dict', checkpoint)
        # MMEngine takes the prefix that a DDP wrapper leaves away, too.
        state = {key.removeprefix('module.'): state[key] for key in state}
        misfits = find_misfits(model, state)
        if misfits and state.keys().isdisjoint(model.state_dict()):
            raise CheckpointError(
                f'Nothing in the checkpoint has a place in the model; its first keys are: {_name_some(list(state))}. '
                'Weights of the official ViC-MAE or MAE go through tools/model_converters/convert.py first.'
            )
        if misfits and not self.strict:
            runner.logger.warning(
                'Of the checkpoint, what fits is loaded; the rest of the model begins anew '
                '(a teacher as its student):\n' + '\n'.join(misfits)
            )
        elif misfits:
            raise CheckpointError(
                'The checkpoint does not fit the model of this config:\n'
                + '\n'.join(misfits)
                + '\nUse the '
                'config that it was trained with, or load what fits: `default_hooks.checkpoint_fit.strict=False`.'
            )


def find_misfits(model: torch.nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Says in a few lines which keys are missing, unexpected or of another shape; nothing where all fit.

    What modules make fit when they load (a `fit_checkpoint`, as of positions of another grid) counts as fitting.
    """
    own = model.state_dict()
    state = _fitted(model, state)
    reshaped = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    groups = {
        'missing from the checkpoint': [key for key in own if key not in state],
        'unknown to the model': [key for key in state if key not in own],
        'of another shape': reshaped,
    }
    return [f'  {len(keys)} {what}: {_name_some(keys)}' for what, keys in groups.items() if keys]


def _fitted(model: torch.nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint as modules fit it to themselves; they tell of it when they load it, and not here."""
    fitted = dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name, module in model.named_modules():
            if hasattr(module, 'fit_checkpoint'):
                module.fit_checkpoint(fitted, f'{name}.' if name else '')
    return fitted


def _name_some(keys: Sequence[str]) -> str:
    named = ', '.join(keys[:_MOST_NAMED])
    rest = len(keys) - _MOST_NAMED
    return f'{named} and {rest} more' if rest > 0 else named
