# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How a model builds its parts from configs, and what they have to fit."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

Part = dict[str, Any] | nn.Module


def build_part(
    part: Part,
    nested: Sequence[str] = (),
    nested_offers: dict[str, Any] | None = None,
    **offers: Any,
) -> Any:
    """Builds a part from its config, or takes it as it is where it is built already.

    Args:
        part: Config or module.
        nested: Arguments of the part that are parts themselves.
        nested_offers: What these are offered.
        offers: Arguments that the part gets where it takes them and its config doesn't give them.
    """
    if isinstance(part, nn.Module):
        return part
    if not isinstance(part, Mapping) or 'type' not in part:
        raise ConfigError(f'A part of a model is a dict with a `type`, or a module; got {part!r}.')
    part = dict(part)
    for name in nested:
        if isinstance(part.get(name), Mapping):
            part[name] = build_part(part[name], **(nested_offers or {}))
    cls = MODELS.get(part['type']) if isinstance(part['type'], str) else part['type']
    taken = inspect.signature(cls).parameters if cls is not None else {}
    return MODELS.build(part, default_args={k: v for k, v in offers.items() if k in taken})


def build_preprocessor(preprocessor: Part, head: Part | None) -> Any:
    """Builds a data preprocessor, which gets its number of classes from the head of the model."""
    of_head = head.get if isinstance(head, Mapping) else lambda name: getattr(head, name, None)
    classes = of_head('num_classes')
    return build_part(preprocessor, **({} if classes is None else dict(num_classes=classes)))


def output_width(head: nn.Module, in_dim: int) -> int:
    """Width of what a head of linear layers returns for vectors of `in_dim`."""
    if isinstance(head, nn.Identity):
        return in_dim
    widths = [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ValueError(
            f"Can't tell the output width of {type(head).__name__}: it has no linear layer."
        )
    return widths[-1]


def require_parameter_free(aggregator: nn.Module, reason: str) -> None:
    """Refuses an aggregator with parameters where no loss would train them."""
    if any(True for _ in aggregator.parameters()):
        raise ValueError(
            f'{type(aggregator).__name__} has parameters, but {reason}, so that nothing would train them. '
            'Use `MeanPooling` or another aggregator without parameters.'
        )
