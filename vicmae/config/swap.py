# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Swaps a part in a config file by its `type` alone, as an override on the command line does.

MMEngine merges a dict of a child config into that of its base: arguments of the base's type stay, and the child's type
refuses them. Those that no child has written are dropped here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config

from .check import extras_of, find_type, nested_dicts, parameters_of

# Names the arguments that a dict has from a base with another `type`, until all types are registered.
_INHERITED = '_inherited_'


@contextmanager
def noting_inherited_arguments() -> Iterator[None]:
    """Makes the merge of config files note which arguments a dict has from a base with another `type`."""
    merge = Config._merge_a_into_b

    def merge_and_note(a: Any, b: Any, allow_list_keys: bool = False) -> Any:
        merged = merge(a, b, allow_list_keys)
        if isinstance(a, dict) and isinstance(b, dict):
            changed = 'type' in a and b.get('type', a['type']) != a['type']
            inherited = [key for key in (b if changed else b.get(_INHERITED, ())) if key not in a]
            merged.pop(_INHERITED, None)
            if inherited:
                merged[_INHERITED] = inherited
        return merged

    Config._merge_a_into_b = staticmethod(merge_and_note)
    try:
        yield
    finally:
        Config._merge_a_into_b = staticmethod(merge)


def drop_inherited_arguments(cfg: Config) -> None:
    """Drops the noted arguments that the new types don't take."""
    for parents, node in list(nested_dicts(cfg._cfg_dict)):
        inherited = node.pop(_INHERITED, ())
        if inherited:
            drop_foreign_arguments(node, parents, inherited)


def drop_foreign_arguments(node: Any, parents: Any, keys: Any = None) -> None:
    """Drops the keys of a dict, or those of the given ones, that its `type` doesn't take."""
    cls = find_type(node['type']) if isinstance(node['type'], str) else node['type']
    names, takes_any = parameters_of(cls) if cls is not None else ([], True)
    if not takes_any:
        kept = {'type', '_delete_', '_scope_', *names, *extras_of(parents)}
        for key in list(node if keys is None else keys):
            if key not in kept:
                node.pop(key, None)
