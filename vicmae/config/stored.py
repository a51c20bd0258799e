# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads the config that a checkpoint stores, without running it."""

from collections.abc import Mapping
from typing import Any

import mmpretrain.registry
from mmengine.config import Config
from mmengine.registry import init_default_scope as set_default_scope

from vicmae.errors import CheckpointError, ConfigError
from vicmae.registry import MODELS, WEIGHT_INITIALIZERS

from .check import nested_dicts
from .literals import read_assignments

_HINT = 'Name its config: `--config CONFIG`, or `config=` in Python.'
_SCOPES = ('', 'mmcv', 'mmengine', 'vicmae')


def read_stored_config(checkpoint: Any, source: str) -> Config:
    """Reads the config in a checkpoint's `meta['cfg']`, the text that MMEngine wrote.

    Nothing in it is run: only assignments of literals and `dict(...)` calls are read. The types in its `model` must be
    registered, since MMEngine would import any other name.

    Args:
        checkpoint: Content of a checkpoint.
        source: Its name in messages.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        raise CheckpointError(f'The checkpoint {source} stores no config. {_HINT}')
    try:
        values = read_assignments(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint {source} stores a config that can't be read: {error}. {_HINT}"
        ) from error
    if not isinstance(values.get('model'), dict):
        raise CheckpointError(
            f'The checkpoint {source} stores a config without a `model` of plain values. {_HINT}'
        )
    _require_registered(values['model'], source)
    set_default_scope('vicmae')
    return Config(values)


def _require_registered(model: dict[str, Any], source: str) -> None:
    registries = (MODELS, WEIGHT_INITIALIZERS)
    ours = {name for registry in registries for name in _names_in(registry)}
    theirs = set(_names_in(mmpretrain.registry.MODELS))
    for parents, node in nested_dicts(model, ('model',)):
        name = node.get('type')
        scope, _, plain = str(name).rpartition('.')
        known = theirs if scope == 'mmpretrain' else ours if scope in _SCOPES else ()
        foreign = node.get('_scope_', 'vicmae') not in (*_SCOPES, 'mmpretrain')
        if (name is not None and plain not in known) or foreign:
            raise ConfigError(
                f'`{".".join(parents)}.type` is {name!r} in the config that the checkpoint {source} stores, and that '
                f'is not registered. If it is your own, import its module first, or let its config do so. {_HINT}'
            )


def _names_in(registry: Any) -> list[str]:
    """Returns the names in a registry and those above it."""
    names: list[str] = []
    while registry is not None:
        registry.import_from_location()
        names += registry.module_dict
        registry = registry.parent
    return names
