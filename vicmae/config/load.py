# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads configs, applies overrides, and refuses names that nothing reads."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import init_default_scope as set_default_scope

from vicmae.errors import ConfigError

from .check import (
    EXTRAS,
    FREE_NAMES,
    check_arguments,
    check_types,
    extras_of,
    find_type,
    parameters_of,
    signature_of,
    top_level_names,
)
from .knobs import check_knobs, follow_knobs, require_followed
from .nearest import suggest
from .paths import find_config
from .swap import drop_foreign_arguments, drop_inherited_arguments, noting_inherited_arguments

_NOTHING: Any = object()
# Keys for which MMEngine takes these kinds, besides the one that the config has.
_OTHER_KINDS = {
    'compile': (bool,),
    'param_scheduler': (Mapping, list, tuple),
    'test_evaluator': (Mapping, list, tuple),
    'val_evaluator': (Mapping, list, tuple),
}


def load_config(
    path: str | Path,
    overrides: Mapping[str, Any] | Callable[[Config], Mapping[str, Any]] | None = None,
) -> Config:
    """Reads a config file, applies overrides, lets parts follow the knobs, and checks every name in it.

    Args:
        path: Path of a config, or the name of one of the project's.
        overrides: Values by dotted key, as from `--cfg-options`, or a function that returns them for the config as it
            is in its file.
    """
    path = find_config(str(path))
    MODULE2PACKAGE.setdefault('vicmae', 'vicmae')  # for `_base_ = 'vicmae::vicmae/NAME.py'`
    try:
        with noting_inherited_arguments():
            cfg = Config.fromfile(path)
    except ImportError as error:
        raise ConfigError(
            f"Can't read the config {str(path)!r}: {_missing_module(error)}"
        ) from error
    except Exception as error:  # a config is a program
        raise ConfigError(f"Can't read the config {str(path)!r}: {error}{_hint(error)}") from error
    _drop_own_scope(cfg._cfg_dict)
    set_default_scope(cfg.get('default_scope') or 'vicmae')
    drop_inherited_arguments(cfg)
    overrides = (overrides(cfg) if callable(overrides) else overrides) or {}
    apply_overrides(cfg, overrides)
    check_types(cfg)
    check_knobs(cfg)
    follow_knobs(cfg)
    require_followed(cfg, overrides)
    check_arguments(cfg)
    return cfg


def _drop_own_scope(node: Any) -> None:
    """Removes the `_scope_` that MMEngine writes into every dict of a base named by `vicmae::`."""
    if isinstance(node, dict):
        if node.get('_scope_') == 'vicmae':
            del node['_scope_']
        node = node.values()
    if not isinstance(node, str) and isinstance(node, Iterable):
        for value in node:
            _drop_own_scope(value)


def apply_overrides(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Sets values by dotted key, and refuses keys that nothing reads.

    An override of a `type` drops the arguments that the new type doesn't take, so that one option swaps a part:
    `model.aggregator.type=MaxPooling`.
    """
    changed_types = [key for key in overrides if key == 'type' or key.endswith('.type')]
    for key in sorted(overrides, key=lambda k: (k not in changed_types, k)):
        _check_key(cfg, key)
        _refuse_another_kind(cfg, key, overrides[key])
        _set(cfg, key, overrides[key])
        if key in changed_types:
            parents = key.split('.')[:-1]
            drop_foreign_arguments(_value_at(cfg, parents), parents)


def _set(cfg: Config, key: str, value: Any) -> None:
    """Sets a value by dotted key; a dict is merged into one that is there, and replaces anything else."""
    old = _value_at(cfg, key.split('.'))
    if isinstance(value, Mapping) and old is not _NOTHING and not isinstance(old, Mapping):
        value = {**value, '_delete_': True}
    try:
        cfg.merge_from_dict({key: value})
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        was = '' if old is _NOTHING else f', where the config has {old!r}'
        raise ConfigError(f"`{key}` can't be {value!r}{was}.") from error


def _value_at(cfg: Config, parts: Sequence[str]) -> Any:
    """Returns the value at a dotted key, or `_NOTHING`."""
    node: Any = cfg._cfg_dict
    for part in parts:
        if isinstance(node, (list, tuple)) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return _NOTHING
    return node


def _hint(error: Exception) -> str:
    """Says how a base is named where MMEngine can't find it."""
    text = str(error)
    if '_get_package_and_cfg_path' in text or ('vicmae' in text and 'exist' in text):
        return (
            " A base is a path, or 'vicmae::vicmae/NAME.py': the folder below configs/ and the file. "
            '`vicmae configs --path NAME` prints where a config is, or the command that has replaced it.'
        )
    return ''


def _missing_module(error: BaseException) -> str:
    """Returns what could not be imported, without MMEngine's list of all folders that were searched."""
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__ or cause.__context__
    return f'{error}. Name the folder of the module: `PYTHONPATH=FOLDER vicmae ...`.'


def _refuse_another_kind(cfg: Config, key: str, value: Any) -> None:
    """Refuses anything but a dict in the place of a dict, and but a list of parts in the place of one.

    A name gets advice: `model.aggregator=MaxPooling` has to be `model.aggregator.type=MaxPooling`.
    """
    old = _value_at(cfg, key.split('.'))
    if isinstance(old, Mapping) and isinstance(value, str):
        meant = f' Did you mean `{key}.type={value}`?' if find_type(value) else ''
        raise ConfigError(f'`{key}` is a dict, and {value!r} is none.{meant}')
    others = _OTHER_KINDS.get(key, ())
    if isinstance(old, Mapping):
        expected, fits = 'a dict', isinstance(value, (Mapping, *others))
    elif isinstance(old, (list, tuple)) and old and all(isinstance(o, Mapping) for o in old):
        expected, fits = 'a list of dicts', isinstance(value, (list, tuple, *others))
    else:
        return
    if isinstance(value, (list, tuple)):  # `RandomChoice` takes lists in its list
        fits = fits and all(isinstance(item, (Mapping, list, tuple)) for item in value)
    if value is not None and not fits:
        raise ConfigError(f'`{key}` must be {expected} or None, got {value!r}.')


def _check_key(cfg: Config, key: str) -> None:
    """Follows a dotted key to its first part that isn't there, and refuses it if nothing would read it."""
    node: Any = cfg._cfg_dict  # a Config is no Mapping itself
    parts = key.split('.')
    _refuse_names_of_the_file(node, parts[0])
    for depth, part in enumerate(parts):
        where = '.'.join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdecimal() or int(part) >= len(node):
                raise ConfigError(
                    f'`{key}`: `{where}` is a list of {len(node)}, which has no item {part!r}.'
                )
            node = node[int(part)]
        elif not isinstance(node, Mapping):
            if node is None:  # nothing there yet: the override creates it
                return
            raise ConfigError(f'`{key}`: `{where}` is {node!r}, which has nothing inside.')
        elif part in node:
            node = node[part]
        else:
            _require_readable(cfg, node, parts, depth)
            if signature_of(part) is None and part not in EXTRAS:
                return
            node = {}  # what goes into it is known all the same


def _refuse_names_of_the_file(node: Mapping, name: str) -> None:
    """Refuses a variable of the config file, which was read before the override."""
    if name not in node or name in top_level_names():
        return
    value = node[name]
    places = [
        path
        for path, other in _paths(node)
        if not path.startswith(name)
        and (other == value or (isinstance(value, str) and str(other).startswith(f'{value}/')))
    ]
    went = f' Set what it went into: {", ".join(places[:4])}.' if places else ''
    raise ConfigError(
        f'`{name}` is read by the config file alone: an override comes too late.{went}'
    )


def _require_readable(cfg: Config, node: Mapping, parts: Sequence[str], depth: int) -> None:
    part, parents = parts[depth], parts[:depth]
    known, takes_any = _readable_names(node, parents)
    if takes_any or part in known:
        return
    where = f' of `{".".join(parents)}`' if parents else ' at the top'
    raise ConfigError(
        f'The config has no key `{".".join(parts)}`: {part!r} is not one{where}.'
        f'{_suggest_path(cfg, ".".join(parts)) or suggest(part, known)}'
    )


def _suggest_path(cfg: Config, key: str) -> str:
    """Suggests full keys of the same name: `optim_wrapper.optimizer.lr` for `lr`."""
    name = key.rpartition('.')[2]
    found = [path for path, _ in _paths(cfg._cfg_dict) if path.rpartition('.')[2] == name]
    near = difflib.get_close_matches(key, found, n=3, cutoff=0)
    return f' Did you mean {" or ".join(near)}?' if near else ''


def _paths(node: Any, where: str = '') -> Iterator[tuple[str, Any]]:
    """All dotted keys below a dict with their values, except those in lists."""
    for key, value in node.items():
        path = f'{where}.{key}' if where else str(key)
        yield path, value
        if isinstance(value, Mapping):
            yield from _paths(value, path)


def _readable_names(node: Mapping, parents: Sequence[str]) -> tuple[list[str], bool]:
    """The keys that a dict of the config may have, and whether it may have any."""
    if not parents:
        return sorted(top_level_names()), False
    extras = extras_of(parents)
    if isinstance(node.get('type'), str):
        cls = find_type(node['type'])
        names, takes_any = parameters_of(cls) if cls is not None else ([], True)
        return sorted({*node, *names, *extras}), takes_any
    if any(name in FREE_NAMES for name in parents):
        return [], True
    taker = signature_of(parents[-1])
    names = parameters_of(taker)[0] if taker is not None else []
    return sorted({*node, *names, *extras}), False
