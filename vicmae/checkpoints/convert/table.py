# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Tables of a format: the names of its tensors, and those of vicmae that they become."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

# Kinds of modules: suffixes of their keys, with the number of dimensions.
Kind = Mapping[str, int]
TOKENS: Kind = {'': 3}
VECTOR: Kind = {'': 1}
WEIGHT: Kind = {'.weight': 2}
LINEAR: Kind = {'.weight': 2, '.bias': 1}
CONV: Kind = {'.weight': 4, '.bias': 1}
CONV_3D: Kind = {'.weight': 5, '.bias': 1}
NORM: Kind = {'.weight': 1, '.bias': 1}


class Module(NamedTuple):
    """A module, or a single tensor, in both formats.

    Attributes:
        theirs: Its name in the other format. Several names are modules that become one. None: the other format computes
            this tensor and doesn't store it.
        ours: Its name in vicmae.
        kind: Its tensors.
        make: Computes vicmae's tensor from those of `theirs`, then those of `inputs`. None: unchanged.
        inputs: Further tensors of the other format that `make` takes. They are mapped elsewhere in the table.
        note: What is computed, for the report, if `theirs` is None.
    """

    theirs: str | tuple[str, ...] | None
    ours: str
    kind: Kind
    make: Callable[..., Tensor] | None = None
    inputs: tuple[str, ...] = ()
    note: str = ''


class Place(NamedTuple):
    """A tensor of vicmae, and those of the other format from which it is made."""

    part: str
    sources: tuple[str, ...]
    target: str
    ndim: int
    make: Callable[..., Tensor] | None = None
    inputs: tuple[str, ...] = ()
    note: str = ''

    def reversed(self) -> 'Place':
        """Swaps both formats. Only for tensors that stay unchanged."""
        (source,) = self.sources
        return self._replace(sources=(self.target,), target=source)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all tensors from which the target is computed."""
        return (*self.sources, *self.inputs)

    def compute(self, weights: Mapping[str, Any]) -> Tensor:
        """Computes the target."""
        tensors = [weights[name] for name in self.needs]
        return tensors[0] if self.make is None else self.make(*tensors)


class Table(NamedTuple):
    """The tensors of one kind of file.

    Attributes:
        modules: Modules of each part of the model, without its layers.
        layers: Names of layer `{i}` of each part, in the other format and in vicmae.
        layer: Modules of a layer. Their names and inputs follow the layer's name.
        prefix: Precedes all names in the other format.
    """

    modules: Mapping[str, tuple[Module, ...]]
    layers: Mapping[str, tuple[str, str]]
    layer: tuple[Module, ...]
    prefix: str = ''

    def places(self, keys: Collection[str], *, of_vicmae: bool) -> list[Place]:
        """Lists all tensors, with as many layers as a file has.

        Args:
            keys: Names of the tensors in the file.
            of_vicmae: Whether the file is vicmae's, instead of one of the other format.
        """
        return [
            place
            for part in self.modules
            for module in self._modules_of(part, self._count_layers(part, keys, of_vicmae))
            for place in self._places_of(part, module)
        ]

    def _count_layers(self, part: str, keys: Collection[str], of_vicmae: bool) -> int:
        """Counts the layers of a part up to the last one: a gap shows as missing keys."""
        if part not in self.layers:
            return 0
        theirs, ours = self.layers[part]
        stem = re.escape(ours if of_vicmae else self.prefix + theirs).replace(r'\{i\}', r'(\d+)')
        matches = [re.match(rf'{stem}\.', key) for key in keys]
        return max((int(match[1]) + 1 for match in matches if match), default=0)

    def _modules_of(self, part: str, depth: int) -> Iterator[Module]:
        yield from self.modules[part]
        for i in range(depth):
            theirs, ours = (stem.format(i=i) for stem in self.layers[part])
            for module in self.layer:
                yield module._replace(
                    theirs=tuple(f'{theirs}.{name}' for name in _names(module)),
                    ours=f'{ours}.{module.ours}',
                    inputs=tuple(f'{theirs}.{name}' for name in module.inputs),
                )

    def _places_of(self, part: str, module: Module) -> Iterator[Place]:
        for suffix, ndim in module.kind.items():
            yield Place(
                part=part,
                sources=tuple(f'{self.prefix}{name}{suffix}' for name in _names(module)),
                target=module.ours + suffix,
                ndim=ndim,
                make=module.make,
                inputs=tuple(self.prefix + name for name in module.inputs),
                note=module.note,
            )


def _names(module: Module) -> tuple[str, ...]:
    if module.theirs is None:
        return ()
    return (module.theirs,) if isinstance(module.theirs, str) else module.theirs


def prefix_before(name: str, keys: Collection[str]) -> str:
    """Returns what precedes a name in the first key that ends with it: '' if there is none."""
    return next((key.removesuffix(name) for key in keys if key.endswith(name)), '')
