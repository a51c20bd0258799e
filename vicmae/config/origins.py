# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Tells for each value of a config which file, knob or option set it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .check import top_level_names
from .knobs import follow_knobs
from .load import load_config
from .paths import find_config, project_root

OPTION = '--cfg-options'
Values = dict[str, Any]


def values_of(cfg: Config) -> Values:
    """Returns the values of a config by dotted key, as `--cfg-options` takes them, without variables of the files."""
    known = top_level_names() - {'followed'}
    return dict(_flatten({key: value for key, value in cfg.items() if key in known}))


def values_with_origins(
    path: str | Path, overrides: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, str]]:
    """Returns each value of a resolved config, with what set it.

    Args:
        path: Path or name of a config.
        overrides: Values by dotted key, as from `--cfg-options`.
    """
    path = find_config(str(path))
    cfg = load_config(path, overrides)
    resolved = values_of(cfg)
    origins = {key: origin for key, (_, origin) in _of_file(path).items()}
    for key in overrides or {}:
        origins.update((k, OPTION) for k in resolved if k == key or k.startswith(f'{key}.'))
    for key, knob in follow_knobs(cfg).items():
        origins[key] = f'follows {knob}'
    return {key: (value, origins.get(key, OPTION)) for key, value in resolved.items()}


def _of_file(path: Path) -> dict[str, tuple[Any, str]]:
    """Returns the values that MMEngine reads from a file and its bases, each with the file that set it last."""
    of_bases: dict[str, tuple[Any, str]] = {}
    for base in Config._get_base_files(str(path)):
        base_path, _ = Config._get_cfg_path(base, str(path))
        of_bases.update(_of_file(Path(base_path)))
    return {
        key: of_bases[key]
        if key in of_bases and of_bases[key][0] == value
        else (value, _short(path))
        for key, value in values_of(Config.fromfile(path)).items()
    }


def _flatten(node: Any, where: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the values of nested dicts, and of lists of dicts, by dotted key."""
    if isinstance(node, Mapping) and node:
        children: Any = node.items()
    elif isinstance(node, list) and any(isinstance(item, (Mapping, list)) for item in node):
        children = enumerate(node)
    else:
        yield where, node
        return
    for key, value in children:
        if key != '_scope_':
            yield from _flatten(value, f'{where}.{key}' if where else str(key))


def _short(path: Path) -> str:
    """Names a config of the project from `configs/` on."""
    path = path.resolve()
    root = project_root().resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
