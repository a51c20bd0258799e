# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks every name in a config: MMEngine itself takes any key that is misspelt."""

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
# What MMEngine takes out of a dict before it builds the rest.
EXTRAS = {
    'train_dataloader': _LOADER_EXTRAS,
    'val_dataloader': _LOADER_EXTRAS,
    'test_dataloader': _LOADER_EXTRAS,
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
# Dicts whose keys a user may choose: any name goes below them.
FREE_NAMES = (
    'custom_keys',
    'default_hooks',
    'sources',
    'weights',
    'tags',
)


def signature_of(name: str) -> Callable | None:
    """What the keys of a dict without `type` are arguments of, by its own key."""
    if name == 'demo_data':
        return demo_data_maker()
    return _SIGNATURES.get(name)


def check_types(cfg: Config) -> None:
    """Refuses a `type` that isn't registered: says which, where, and what it may have been meant to be."""
    for where, name in _types(cfg._cfg_dict):
        if find_type(name) is None:
            raise ConfigError(
                f"`{where}` is '{name}', which is not registered.{suggest(name, registered_names())} "
                'A type of your own is registered when its module is imported: see `custom_imports`.'
            )


def check_arguments(cfg: Config) -> None:
    """Refuses keys that nothing reads, and texts in the place of numbers: says which, where, and what was meant."""
    top = top_level_names()
    for key in cfg._cfg_dict:
        # A file may have variables of its own, but hardly one that is a letter off.
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
        meant = suggest(key, known)
        if 'Did you mean' not in meant:
            meant += (
                ' Where a config changes a `type` that its base has set, `_delete_=True` in the dict leaves the '
                'arguments of the old one out.'
            )
        raise ConfigError(f'`{where}`: {node.get("type", parents[-1])} takes no `{key}`.{meant}')
    if isinstance(node[key], str) and _is_number(cls, key):
        raise ConfigError(f'`{where}` must be a number, got {node[key]!r}.')


def built_nodes(
    node: Any, where: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """All dicts below a node that become arguments of something known: where they stand, the dict, what takes it."""
    if isinstance(node, Mapping):
        cls = None
        if isinstance(node.get('type'), str):
            cls = find_type(node['type'])
        elif where and 'type' not in node:
            cls = signature_of(where[-1])
        if where and cls is not None:
            yield where, node, cls
        children: Iterable[tuple[Any, Any]] = node.items()
    else:
        children = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in children:
        yield from built_nodes(value, (*where, str(key)))


def _is_number(cls: Any, name: str) -> bool:
    """Whether an argument takes numbers and no text, by its annotation."""
    for base in inspect.getmro(cls) if inspect.isclass(cls) else ():
        parameter = inspect.signature(vars(base).get('__init__', object)).parameters.get(name)
        if parameter is not None:
            kinds = set(typing.get_args(parameter.annotation)) or {parameter.annotation}
            others = kinds - {int, float, bool, type(None), Tensor}
            return bool(kinds & {int, float}) and all(typing.get_origin(k) is tuple for k in others)
    return False


def find_type(name: str) -> Any:
    """The class or function that a config's `type` names, whatever its registry; None where there is none."""
    for registry in _registries():
        found = registry.get(name)
        if found is not None:
            return found
    return None


def places_of(cfg: Config, name: str) -> Iterator[tuple[str, Mapping]]:
    """Where parts of a class, or of one that is derived from it, stand in a config.

    Yields:
        A dotted key, and the dict there.
    """
    for parents, node, cls in built_nodes(cfg._cfg_dict):
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


def top_level_names() -> set[str]:
    """What may stand at the top of a config."""
    return {*parameters_of(Runner.__init__)[0], *_TOP_LEVEL}


def extras_of(parents: Sequence[str]) -> tuple[str, ...]:
    """What may stand in a dict beside its type's arguments."""
    return EXTRAS.get(parents[-1], ()) or _ITEM_EXTRAS.get('.'.join(parents[:-1]), ())


def parameters_of(callable_: Any) -> tuple[list[str], bool]:
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
