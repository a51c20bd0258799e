# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from vicmae.errors import ConfigError
from vicmae.registry import OPTIM_WRAPPER_CONSTRUCTORS
from vicmae.utils.distributed import unwrapped
from vicmae.utils.log import say


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CheckedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, which also refuses a `custom_keys` pattern that matches no parameter.

    `flat_decay_mult` applies to tokens (1, 1, D) too. The log has a summary instead of a line per parameter.
    """

    paramwise_cfg: Any

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = unwrapped(model)
        names = [name for name, _ in model.named_parameters()]
        rules: dict[str, Any] = dict(self.paramwise_cfg or {})
        custom_keys = rules.get('custom_keys', {})
        for key in custom_keys:
            if not any(key in name for name in names):
                raise ConfigError(
                    f"`optim_wrapper.paramwise_cfg.custom_keys` has '{key}', which is in no parameter's name. "
                    f'The names begin with: {", ".join(sorted({n.split(".")[0] for n in names}))}.'
                )
        if 'flat_decay_mult' in rules:
            decay = dict(decay_mult=rules['flat_decay_mult'])
            tokens = {name: decay for name, p in model.named_parameters() if _is_token(p)}
            # A pattern for a token goes before the rule for all.
            tokens = {n: d for n, d in tokens.items() if not any(key in n for key in custom_keys)}
            self.paramwise_cfg = {**rules, 'custom_keys': {**custom_keys, **tokens}}
        with _without_parameter_lines():
            wrapper = super().__call__(model)
        _log_summary(model, wrapper)
        return wrapper


def _is_token(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 3 and parameter.shape[:2] == (1, 1)


def _log_summary(model: nn.Module, wrapper: OptimWrapper) -> None:
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    fixed = sum(p.numel() for p in parameters if not p.requires_grad)
    # Not the wrapper's groups: these have one more, which only records the base learning rate.
    groups = wrapper.optimizer.param_groups
    decayed = sum(p.numel() for g in groups if g.get('weight_decay') for p in g['params'])
    say(
        f'{trained:,} parameters are trained, {decayed:,} of them with weight decay; {fixed:,} are fixed.'
    )


@contextmanager
def _without_parameter_lines() -> Iterator[None]:
    def is_wanted(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text.startswith('paramwise_options') or 'requires_grad=False' in text)

    logger: Any = MMLogger.get_current_instance()
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
