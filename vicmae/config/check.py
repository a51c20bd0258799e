# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks every name in a config, since MMEngine ignores misspelt keys."""

import difflib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.runner import Runner, TestLoop, ValLoop
from mmengine.utils.dl_utils import set_multi_processing
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from vicmae.datasets.loader.build import LOADER_OPTIONS
from vicmae.errors import ConfigError
from vicmae.utils.demo_data import demo_data_maker

from .nearest import suggest

# Top-level keys of MMEngine and vicmae that are not arguments of the Runner.
_TOP_LEVEL = (
    'compile',
    'custom_imports',
    'data_root',
    'demo_data',
    'find_unused_parameters',
    'followed',
    'image_size',
    'model_size',
    'model_wrapper_cfg',
    'num_classes',
    'num_frames',
    'patch_size',
    'runner_type',
    'sync_bn',
)
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Classes and functions whose arguments are the keys of dicts that may have no `type`.
_SIGNATURES: dict[str, Callable] = {
    **dict.fromkeys(_LOADERS, DataLoader),
    'randomness': Runner.set_randomness,
    'optim_wrapper': OptimWrapper,
    'clip_grad': clip_grad_norm_,
    'mp_cfg': set_multi_processing,
    'val_cfg': ValLoop,
    'test_cfg': TestLoop,
}
_LOADER_EXTRAS = (
    'dataset',
    'sampler',
    'batch_sampler',
    'collate_fn',
    'num_batch_per_epoch',
    *LOADER_OPTIONS,
)
# Keys that MMEngine removes from a dict before it builds the object.
EXTRAS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LOADERS, _LOADER_EXTRAS),
    'optim_wrapper': ('type', 'constructor', 'paramwise_cfg'),
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'clip_grad': ('type', 'clip_value'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'dist_cfg': ('backend', 'timeout', 'port', 'init_backend'),
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
# Dicts whose keys a user may choose.
FREE_NAMES = ('custom_keys', 'default_hooks', 'sources', 'weights', 'tags', 'heads', 'loss_weights')


def signature_of(name: str) -> Callable | None:
    """Returns the class or function whose arguments are the keys of a dict without `type` below this key."""
    if name == 'demo_data':
        return demo_data_maker()
    return _SIGNATURES.get(name)


def check_types(cfg: Config) -> None:
    """Refuses a `type` that isn't registered. The error suggests similar names."""
    for parents, node in nested_dicts(cfg._cfg_dict):
        name = node.get('type')
        if isinstance(name, str) and find_type(name) is None:
            where = '.'.join((*parents, 'type'))
            raise ConfigError(
                f"`{where}` is '{name}', which is not registered.{suggest(name, registered_names())} "
                'A type of your own is registered when its module is imported: see `custom_imports`.'
            )


def check_arguments(cfg: Config) -> None:
    """Refuses keys that nothing reads, and strings instead of numbers. The error suggests similar names."""
    top = top_level_names()
    for key in cfg._cfg_dict:
        # A file may have variables, but hardly one that differs by a letter from a key.
        near = difflib.get_close_matches(key, top, n=1, cutoff=0.8)
        if key not in top and near:
            raise ConfigError(
                f'The config has a key `{key}`, which nothing reads. Did you mean `{near[0]}`?'
            )
    for parents, node, cls in built_nodes(cfg._cfg_dict):
        for key in node:
            if key not in ('type', '_scope_'):
                _check_argument(cls, parents, node, key)


def _check_argument(cls: Any, parents: Sequence[str], node: Mapping, key: str) -> None:
    names, takes_any = parameters_of(cls)
    known = [*names, *extras_of(parents)]
    where = '.'.join((*parents, key))
    if key not in known and not takes_any:
        raise ConfigError(
            f'`{where}`: {node.get("type", parents[-1])} takes no `{key}`.{suggest(key, known)}'
        )
    if isinstance(node[key], str) and _is_number(cls, key):
        raise ConfigError(f'`{where}` must be a number, got {node[key]!r}.')


def nested_dicts(node: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields all dicts of a config, also those in lists, with the keys that lead to them."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        yield where, node
        children = node.items()
    elif isinstance(node, (list, tuple)):
        children = enumerate(node)
    for key, value in children:
        yield from nested_dicts(value, (*where, str(key)))


def built_nodes(node: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yields the dicts of a config whose keys are arguments: keys that lead to it, dict, class or function."""
    for where, child in nested_dicts(node):
        cls = None
        if isinstance(child.get('type'), str):
            cls = find_type(child['type'])
        elif where and 'type' not in child:
            cls = signature_of(where[-1])
        if where and cls is not None:
            yield where, child, cls


def _is_number(cls: Any, name: str) -> bool:
    """Returns whether an argument takes numbers and no strings, by its annotation."""
    for base in inspect.getmro(cls) if inspect.isclass(cls) else ():
        parameter = inspect.signature(vars(base).get('__init__', object)).parameters.get(name)
        if parameter is not None:
            kinds = _kinds_of(parameter.annotation)
            others = kinds - {int, float, bool, type(None), Tensor}
            return bool(kinds & {int, float}) and all(typing.get_origin(k) is tuple for k in others)
    return False


def _kinds_of(annotation: Any) -> set[Any]:
    """Returns the types of a union; the annotations of some modules are text, such as 'int | None'."""
    if isinstance(annotation, str):
        numbers = {'int': int, 'float': float, 'bool': bool, 'None': type(None)}
        return {numbers.get(name.strip(), name) for name in annotation.split('|')}
    return set(typing.get_args(annotation)) or {annotation}


def find_type(name: str) -> Any:
    """Returns the class or function of this name in any registry, None if there is none."""
    registries = _registries()
    # `Registry.get` tries to import each name that it doesn't have, which would take most of the time.
    for registry in registries:
        registry.import_from_location()
        for node in (registry, registry.parent):
            if node is not None and name in node.module_dict:
                return node.module_dict[name]
    found = (registry.get(name) for registry in registries)  # names with a scope, and old ones
    return next((cls for cls in found if cls is not None), None)


def places_of(cfg: Config, name: str) -> Iterator[tuple[str, Mapping]]:
    """Returns the dotted keys and dicts of a config that build a class of this name or a subclass."""
    for parents, node, cls in built_nodes(cfg._cfg_dict):
        if inspect.isclass(cls) and any(base.__name__ == name for base in inspect.getmro(cls)):
            yield '.'.join(parents), node


def registered_names() -> list[str]:
    """Lists all names that a config may use without a scope."""
    names: set[str] = set()
    for registry in _registries():
        for node in (registry, registry.parent):
            if node is not None:
                node.import_from_location()
                names.update(node.module_dict)
    return sorted(names)


def _registries() -> list[Registry]:
    """Returns the registries of vicmae, then those of MMEngine without a child in vicmae."""
    from mmengine import registry as mmengine_registry

    from vicmae import registry as ours

    own = [r for r in vars(ours).values() if isinstance(r, Registry)]
    theirs = [r for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
    with_child = {r.name for r in own}
    return own + [r for r in theirs if r.name not in with_child]


def top_level_names() -> set[str]:
    """Returns the keys that may be at the top level of a config."""
    return {*parameters_of(Runner.__init__)[0], *_TOP_LEVEL}


def extras_of(parents: Sequence[str]) -> tuple[str, ...]:
    """Returns the keys that a dict may have besides the arguments of its type."""
    return EXTRAS.get(parents[-1], ()) or _ITEM_EXTRAS.get('.'.join(parents[:-1]), ())


def parameters_of(callable_: Any) -> tuple[list[str], bool]:
    """Returns the argument names of a function, or a class with its bases, and whether it takes any others."""
    functions = [callable_]
    if inspect.isclass(callable_):
        # By their signatures these two take any argument, but they fail on all.
        bases = [c for c in inspect.getmro(callable_) if c not in (object, nn.Module)]
        functions = [vars(c)['__init__'] for c in bases if '__init__' in vars(c)]
    names: list[str] = []
    for function in functions:
        parameters = list(inspect.signature(function).parameters.values())
        names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [n for n in names if n != 'self'], False
    return [n for n in names if n != 'self'], bool(functions)
