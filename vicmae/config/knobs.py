# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Top-level keys of a config that many parts follow: one value for the picture size, one for the size of the model.

A class says which of its arguments follow which key, by `follows = {'size': 'image_size'}`, or which arguments it has
for each size of the model, by `model_sizes = {'tiny': {...}, ...}`. An argument that the config states stays as it is.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from vicmae.errors import ConfigError

from .check import built_nodes, parameters_of, top_level_names

KNOBS = {
    'image_size': 'pixels of the side of the crops, which the backbone takes',
    'patch_size': 'pixels of the side of a patch',
    'num_frames': 'frames of a clip',
    'data_root': 'folder of the data set, with the folders train and val',
    'num_classes': 'classes of the labels',
    'model_size': 'tiny, small, base, large or huge: width and depth of backbone, decoder and heads',
}
_WHOLE = ('image_size', 'patch_size', 'num_frames', 'num_classes')


def knobs_of(cfg: Config) -> dict[str, Any]:
    """Returns the knobs that a config sets."""
    return {knob: cfg[knob] for knob in KNOBS if cfg.get(knob) is not None}


def check_knobs(cfg: Config) -> None:
    """Raises ConfigError for a size or number that isn't a positive whole number."""
    for knob, value in knobs_of(cfg).items():
        pair = knob == 'image_size' and isinstance(value, (list, tuple)) and len(value) == 2
        numbers = value if pair else [value]
        if knob in _WHOLE and not all(type(n) is int and n > 0 for n in numbers):
            expected = 'a positive whole number' + ' or a pair of them' * (knob == 'image_size')
            raise ConfigError(f'`{knob}` must be {expected}, got {value!r}.')


def follow_knobs(cfg: Config) -> dict[str, str]:
    """Fills in the arguments that follow a knob, in place.

    The values are noted in `cfg.followed`. A config that was written by a run states them all; by the note they follow
    the knobs again, unless a child or an override has changed them.

    Returns:
        The knob of each dotted key that was filled in.
    """
    noted = cfg.get('followed') or {}
    filled: dict[str, str] = {}
    values: dict[str, Any] = {}
    for parents, node, cls in list(built_nodes(cfg._cfg_dict)):
        for argument, knob, value in _followers(cls, knobs_of(cfg)):
            key = '.'.join((*parents, argument))
            if argument not in node or (key in noted and node[argument] == noted[key]):
                node[argument] = value
                filled[key], values[key] = knob, value
    cfg.followed = values
    return filled


def require_followed(cfg: Config, overrides: Iterable[str]) -> None:
    """Raises ConfigError if an override sets a knob, but all parts have values of their own."""
    for knob in set(overrides) & set(knobs_of(cfg)):
        places = {
            '.'.join((*parents, argument)): node[argument] == value
            for parents, node, cls in built_nodes(cfg._cfg_dict)
            if parents[0] in top_level_names()
            for argument, _, value in _followers(cls, {knob: cfg[knob]})
        }
        if places and not any(places.values()):
            names = ', '.join(f'`{place}`' for place in list(places)[:4])
            raise ConfigError(
                f'`{knob}={cfg[knob]}` changes nothing: the config sets another value in {names}. Remove it there, '
                'or override it there.'
            )


def _followers(cls: Any, knobs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yields the arguments of a class that follow knobs: argument, knob and value."""
    known = parameters_of(cls)[0]
    for argument, knob in getattr(cls, 'follows', {}).items():
        if knob in knobs and argument in known:
            yield argument, knob, knobs[knob]
    sizes, size = getattr(cls, 'model_sizes', {}), knobs.get('model_size')
    if sizes and size is not None:
        if size not in sizes:
            raise ConfigError(f'`model_size` must be one of {", ".join(sizes)}, got {size!r}.')
        for argument, value in sizes[size].items():
            yield argument, 'model_size', value
