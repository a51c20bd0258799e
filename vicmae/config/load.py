# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reading configs, with every name checked: MMEngine itself takes any key that is misspelt."""

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.registry import init_default_scope as set_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vicmae.datasets.loader.build import LOADER_OPTIONS
from vicmae.errors import ConfigError
from vicmae.utils.demo_data import demo_data_maker

# Keys of a config that MMEngine reads beside the arguments of its Runner, and ours.
_TOP_LEVEL = (
    'compile',
    'custom_imports',
    'demo_data',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
)
# Dicts that may come without `type`, and whose arguments their keys are.
_SIGNATURES: dict[str, Callable] = {
    'train_dataloader': DataLoader,
    'val_dataloader': DataLoader,
    'test_dataloader': DataLoader,
    'randomness': Runner.set_randomness,
    'optim_wrapper': OptimWrapper,
}
_LOADER_EXTRAS = (
    'dataset',
    'sampler',
    'batch_sampler',
    'collate_fn',
    'num_batch_per_epoch',
    *LOADER_OPTIONS,
)
# What MMEngine takes out of a dict before it builds the rest.
_EXTRAS = {
    'train_dataloader': _LOADER_EXTRAS,
    'val_dataloader': _LOADER_EXTRAS,
    'test_dataloader': _LOADER_EXTRAS,
    'optim_wrapper': ('type', 'constructor', 'paramwise_cfg'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'clip_grad': ('type', 'max_norm', 'norm_type', 'clip_value', 'error_if_nonfinite', 'foreach'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'dist_cfg': ('backend', 'timeout', 'port', 'init_backend'),
    'mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'val_cfg': ('type', 'fp16'),
    'test_cfg': ('type', 'fp16'),
    'paramwise_cfg': (
        'custom_keys',
        'norm_decay_mult',
        'bias_decay_mult',
        'bias_lr_mult',
        'flat_decay_mult',
        'dwconv_decay_mult',
        'dcn_offset_lr_mult',
        'bypass_duplicate',
        'layer_decay_rate',
    ),
}
# The same for each of several dicts below one key.
_ITEM_EXTRAS = {
    'default_hooks': ('priority',),
    'custom_hooks': ('priority',),
    'param_scheduler': ('convert_to_iter_based',),
}
# Dicts whose keys a user may choose: any name goes below them.
_FREE_NAMES = (
    'custom_keys',
    'default_hooks',
    'sources',
    'weights',
    'tags',
)


def _signature_of(name: str) -> Callable | None:
    """What the keys of a dict without `type` are arguments of, by its own key."""
    if name == 'demo_data':
        return demo_data_maker()
    return _SIGNATURES.get(name)


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Reads a config file, applies overrides, and checks every name in it.

    Args:
        path: The config.
        overrides: Values by dotted key, as `--cfg-options` gives them.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'There is no config {str(path)!r}.{_similar_files(path)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        raise ConfigError(f"Can't read the config {str(path)!r}: {error}") from error
    set_default_scope(cfg.get('default_scope') or 'vicmae')
    if overrides:
        apply_overrides(cfg, overrides)
    check_types(cfg)
    check_arguments(cfg)
    return cfg


def apply_overrides(cfg: Config, overrides: Mapping[str, Any]) -> None:
    """Sets values by dotted key, and refuses keys that nothing would read.

    Where an override changes a `type`, arguments that the new type doesn't take are dropped, so that a swap
    is one option: `model.aggregator.type=MaxPooling`.
    """
    changed_types = [key for key in overrides if key == 'type' or key.endswith('.type')]
    for key in sorted(overrides, key=lambda k: (k not in changed_types, k)):
        _check_key(cfg, key)
        _refuse_name_for_a_part(cfg, key, overrides[key])
        cfg.merge_from_dict({key: overrides[key]})
        if key in changed_types:
            parents = key.split('.')[:-1]
            _drop_foreign_arguments(_lookup(cfg, parents), parents)


def check_types(cfg: Config) -> None:
    """Refuses a `type` that isn't registered: says which, where, and what it may have been meant to be."""
    for where, name in _types(cfg._cfg_dict):
        if find_type(name) is None:
            raise ConfigError(
                f"`{where}` is '{name}', which is not registered.{_suggest(name, registered_names())} "
                'A type of your own is registered when its module is imported: see `custom_imports`.'
            )


def check_arguments(cfg: Config) -> None:
    """Refuses keys that nothing reads, and texts in the place of numbers: says which, where, and what was meant."""
    top = _top_level_names()
    for key in cfg._cfg_dict:
        # A file may have variables of its own, but hardly one that is a letter off.
        near = difflib.get_close_matches(key, top, n=1, cutoff=0.8)
        if key not in top and near:
            raise ConfigError(
                f'The config has a key `{key}`, which nothing reads. Did you mean `{near[0]}`?'
            )
    for parents, node, cls in _built_nodes(cfg._cfg_dict):
        for key in node:
            if key not in ('type', '_scope_'):
                _check_argument(cls, parents, node, key)


def _check_argument(cls: Any, parents: Sequence[str], node: Mapping, key: str) -> None:
    names, takes_any = _parameters(cls)
    known = [*names, *_extras(parents)]
    where = '.'.join((*parents, key))
    if key not in known and not takes_any:
        meant = _suggest(key, known)
        if 'Did you mean' not in meant:
            meant += (
                ' Where a config changes a `type` that its base has set, `_delete_=True` in the dict leaves the '
                'arguments of the old one out.'
            )
        raise ConfigError(f'`{where}`: {node.get("type", parents[-1])} takes no `{key}`.{meant}')
    if isinstance(node[key], str) and _is_number(cls, key):
        raise ConfigError(f'`{where}` must be a number, got {node[key]!r}.')


def _built_nodes(
    node: Any, where: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """All dicts below a node that become arguments of something known: where they stand, the dict, what takes it."""
    if isinstance(node, Mapping):
        cls = None
        if isinstance(node.get('type'), str):
            cls = find_type(node['type'])
        elif where and 'type' not in node:
            cls = _signature_of(where[-1])
        if where and cls is not None:
            yield where, node, cls
        children: Iterable[tuple[Any, Any]] = node.items()
    else:
        children = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in children:
        yield from _built_nodes(value, (*where, str(key)))


def _is_number(cls: Any, name: str) -> bool:
    """Whether an argument takes numbers and no text, by its annotation."""
    for base in inspect.getmro(cls) if inspect.isclass(cls) else ():
        parameter = inspect.signature(vars(base).get('__init__', object)).parameters.get(name)
        if parameter is not None:
            kinds = set(typing.get_args(parameter.annotation)) or {parameter.annotation}
            others = kinds - {int, float, bool, type(None), Tensor}
            return bool(kinds & {int, float}) and all(typing.get_origin(k) is tuple for k in others)
    return False


def _refuse_name_for_a_part(cfg: Config, key: str, value: Any) -> None:
    """Refuses `model.aggregator=MaxPooling`, where the dict of a part stands."""
    node: Any = cfg._cfg_dict
    for part in key.split('.'):
        if not isinstance(node, Mapping) or part not in node:
            return
        node = node[part]
    if isinstance(node, Mapping) and isinstance(value, str):
        meant = f' Did you mean `{key}.type={value}`?' if find_type(value) else ''
        raise ConfigError(f'`{key}` is a dict, and {value!r} is none.{meant}')


def find_type(name: str) -> Any:
    """The class or function that a config's `type` names, whatever its registry; None where there is none."""
    for registry in _registries():
        found = registry.get(name)
        if found is not None:
            return found
    return None


def places_of(cfg: Config, name: str) -> Iterator[tuple[str, Mapping]]:
    """Where parts of a class, or of one that is derived from it, stand in a config.

    Args:
        cfg: The config.
        name: Of the class.

    Yields:
        A dotted key, and the dict there.
    """
    for parents, node, cls in _built_nodes(cfg._cfg_dict):
        if inspect.isclass(cls) and any(base.__name__ == name for base in inspect.getmro(cls)):
            yield '.'.join(parents), node


def registered_names() -> list[str]:
    """All names that a config of this project may use without a scope."""
    names: set[str] = set()
    for registry in _registries():
        for node in (registry, registry.parent):
            if node is not None:
                node.import_from_location()
                names.update(node.module_dict)
    return sorted(names)


def _registries() -> list[Registry]:
    """Our registries, then MMEngine's that have no child here."""
    from mmengine import registry as mmengine_registry

    from vicmae import registry as ours

    own = [r for r in vars(ours).values() if isinstance(r, Registry)]
    theirs = [r for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
    with_child = {r.name for r in own}
    return own + [r for r in theirs if r.name not in with_child]


def _types(node: Any, where: str = '') -> Iterator[tuple[str, str]]:
    """All (dotted key, name) of `type` keys below a node."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            inner = f'{where}.{key}' if where else str(key)
            if key == 'type' and isinstance(value, str):
                yield inner, value
            else:
                yield from _types(value, inner)
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _types(value, f'{where}.{i}')


def _lookup(cfg: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        cfg = cfg[int(part)] if isinstance(cfg, (list, tuple)) else cfg[part]
    return cfg


def _check_key(cfg: Config, key: str) -> None:
    """Walks down a dotted key to the first part that isn't there, and asks whether anything would read it."""
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
            if _signature_of(part) is None and part not in _EXTRAS:
                return
            node = {}  # what goes into it is known all the same


def _refuse_names_of_the_file(node: Mapping, name: str) -> None:
    """Refuses names that only the config file itself reads, to build other values: too late to change them."""
    if name not in node or name in _top_level_names():
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


def _top_level_names() -> set[str]:
    return {*_parameters(Runner.__init__)[0], *_TOP_LEVEL}


def _require_readable(cfg: Config, node: Mapping, parts: Sequence[str], depth: int) -> None:
    part, parents = parts[depth], parts[:depth]
    known, takes_any = _readable_names(node, parents)
    if takes_any or part in known:
        return
    where = f' of `{".".join(parents)}`' if parents else ' at the top'
    raise ConfigError(
        f'The config has no key `{".".join(parts)}`: {part!r} is not one{where}.'
        f'{_suggest_path(cfg, ".".join(parts)) or _suggest(part, known)}'
    )


def _suggest_path(cfg: Config, key: str) -> str:
    """Where in the config a key of this name does stand, the most alike first: `lr`, `optim_wrapper.optimizer.lr`."""
    name = key.rpartition('.')[2]
    found = [path for path, _ in _paths(cfg._cfg_dict) if path.rpartition('.')[2] == name]
    near = difflib.get_close_matches(key, found, n=3, cutoff=0)
    return f' Did you mean {" or ".join(near)}?' if near else ''


def _paths(node: Any, where: str = '') -> Iterator[tuple[str, Any]]:
    """All dotted keys below a dict with their values, not those inside lists."""
    for key, value in node.items():
        path = f'{where}.{key}' if where else str(key)
        yield path, value
        if isinstance(value, Mapping):
            yield from _paths(value, path)


def _readable_names(node: Mapping, parents: Sequence[str]) -> tuple[list[str], bool]:
    """What may stand in a dict of the config, and whether anything may."""
    if not parents:
        return sorted(_top_level_names()), False
    extras = _extras(parents)
    if isinstance(node.get('type'), str):
        cls = find_type(node['type'])
        names, takes_any = _parameters(cls) if cls is not None else ([], True)
        return sorted({*node, *names, *extras}), takes_any
    if any(name in _FREE_NAMES for name in parents):
        return [], True
    taker = _signature_of(parents[-1])
    names = _parameters(taker)[0] if taker is not None else []
    return sorted({*node, *names, *extras}), False


def _extras(parents: Sequence[str]) -> tuple[str, ...]:
    """What may stand in a dict beside its type's arguments."""
    return _EXTRAS.get(parents[-1], ()) or _ITEM_EXTRAS.get('.'.join(parents[:-1]), ())


def _parameters(callable_: Any) -> tuple[list[str], bool]:
    """Names of a callable's arguments, and whether it takes any other.

    A class that hands `**kwargs` on takes what its base classes take.
    """
    functions = [callable_]
    if inspect.isclass(callable_):
        # Those two take any argument by their signature, and refuse all.
        bases = [c for c in inspect.getmro(callable_) if c not in (object, nn.Module)]
        functions = [vars(c)['__init__'] for c in bases if '__init__' in vars(c)]
    names: list[str] = []
    for function in functions:
        parameters = list(inspect.signature(function).parameters.values())
        names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [n for n in names if n != 'self'], False
    return [n for n in names if n != 'self'], bool(functions)


def _drop_foreign_arguments(node: dict[str, Any], parents: Sequence[str]) -> None:
    cls = find_type(node['type'])
    if cls is None:
        return
    names, takes_any = _parameters(cls)
    if takes_any:
        return
    for key in [
        k for k in node if k not in ('type', '_delete_', '_scope_', *names, *_extras(parents))
    ]:
        node.pop(key)


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f' Did you mean {" or ".join(near)}?'
    if known and len(known) <= 40:
        return f' Known here: {", ".join(known)}.'
    return ''


def _similar_files(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f' Nor is there a folder {str(folder)!r}.'
    near = difflib.get_close_matches(path.name, [p.name for p in folder.glob('*.py')], n=3)
    return f' Did you mean {" or ".join(near)}?' if near else ''
