# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Builds the parts of a model from configs, and checks that they fit together."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

Part = dict[str, Any] | nn.Module


def build_part(
    part: Part,
    nested: Sequence[str] = (),
    nested_offers: dict[str, Any] | None = None,
    **offers: Any,
) -> Any:
    """Builds a part from its config. Returns a built module unchanged.

    A class lists in `nested_parts` which of its arguments are always parts.

    Args:
        part: Config or module.
        nested: Names of arguments that are themselves parts.
        nested_offers: The `offers` to nested parts.
        offers: Arguments that are passed if the part accepts them and its config doesn't set them.
    """
    if isinstance(part, nn.Module):
        return part
    if not isinstance(part, Mapping) or 'type' not in part:
        raise ConfigError(
            f'A part of a model must be a dict with a `type`, or a module, got {part!r}.'
        )
    part = dict(part)
    cls = MODELS.get(part['type']) if isinstance(part['type'], str) else part['type']
    for name in (*nested, *getattr(cls, 'nested_parts', ())):
        if isinstance(part.get(name), Mapping):
            part[name] = build_part(part[name], **(nested_offers or {}))
    taken = inspect.signature(cls).parameters if cls is not None else {}
    return MODELS.build(part, default_args={k: v for k, v in offers.items() if k in taken})


def call_part(name: str, part: Any, *args: Any, returns: str) -> Any:
    """Calls a part, and names it if it takes other arguments or returns no tensor of the expected rank.

    Args:
        name: Where the part is in the model: 'aggregator', 'head.contrastive'.
        part: The part.
        args: Its arguments.
        returns: Shape of the result, such as '(B, D)'; '()' for a loss.
    """
    try:
        result = part(*args)
    except TypeError as error:
        _require_signature(name, part, args, error)
        raise  # from within the part
    rank = len(returns.strip('()').replace(',', ' ').split())
    if not isinstance(result, Tensor) or result.ndim != rank:
        wanted = f'a tensor of shape {returns}' if rank else 'a tensor of one value'
        raise ConfigError(
            f'`model.{name}` ({type(part).__name__}) must return {wanted}, got {_describe(result)}.'
        )
    return result


def _require_signature(name: str, part: Any, args: Sequence[Any], error: TypeError) -> None:
    """Raises ConfigError if a part doesn't take these arguments."""
    signature = inspect.signature(part.forward if isinstance(part, nn.Module) else part)
    try:
        signature.bind(*args)
    except TypeError as mismatch:
        raise ConfigError(
            f'`model.{name}` ({type(part).__name__}) takes {signature}, and is called with {len(args)} arguments: '
            f'{", ".join(map(_describe, args))} ({mismatch}).'
        ) from error


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'a tensor of shape {tuple(value.shape)}'
    if isinstance(value, (tuple, list)):
        return f'a {type(value).__name__} of {len(value)}'
    return 'None' if value is None else f'a {type(value).__name__}'


def build_preprocessor(preprocessor: Part, head: Part | Mapping[str, Part] | None) -> Any:
    """Builds a data preprocessor, with the number of classes of the model's head, or of each of its heads by name."""
    value: Any
    if isinstance(head, Mapping) and 'type' not in head:
        value = {name: _num_classes(part) for name, part in head.items() if part is not None}
    else:
        value = _num_classes(head)
    return build_part(preprocessor, **({} if value is None else dict(num_classes=value)))


def _num_classes(head: Any) -> int | None:
    name = 'num_classes'
    return head.get(name) if isinstance(head, Mapping) else getattr(head, name, None)


def output_width(head: nn.Module, in_dim: int) -> int:
    """Returns the output width of a head of linear layers for vectors of `in_dim`."""
    if isinstance(head, nn.Identity):
        return in_dim
    widths = [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ValueError(
            f"Can't tell the output width of {type(head).__name__}: it has no linear layer."
        )
    return widths[-1]


def require_parameter_free(aggregator: nn.Module, reason: str) -> None:
    """Raises a ValueError if an aggregator has parameters, which no loss would train."""
    if any(True for _ in aggregator.parameters()):
        raise ValueError(
            f'{type(aggregator).__name__} has parameters, but {reason}, so they would not be trained. '
            'Use `MeanPooling` or another aggregator without parameters.'
        )
