# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes a page of each registry: every registered class with all of its options.

Names, types and defaults come from signatures, meanings from docstrings. A class that passes `**kwargs` on has the
options of its base class too, except those that it sets itself.
"""

import ast
import inspect
import logging
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import griffe
from mmengine.registry import Registry
from torch import nn

from vicmae import registry as registries
from vicmae.config.knobs import KNOBS

from .text import escape, table

# Registries in the order of the site, with the title of their page.
TITLES = {
    'MODELS': 'Models',
    'DATASETS': 'Datasets',
    'TRANSFORMS': 'Transforms',
    'DATA_SAMPLERS': 'Samplers',
    'HOOKS': 'Hooks',
    'METRICS': 'Metrics',
    'LOOPS': 'Loops',
    'RUNNERS': 'Runners',
    'OPTIM_WRAPPERS': 'Optimizer wrappers',
    'OPTIM_WRAPPER_CONSTRUCTORS': 'Optimizer constructors',
    'PARAM_SCHEDULERS': 'Schedules',
    'MODEL_WRAPPERS': 'Model wrappers',
    'WEIGHT_INITIALIZERS': 'Weight initializers',
    'EVALUATORS': 'Evaluators',
    'LOG_PROCESSORS': 'Log processors',
    'OPTIMIZERS': 'Optimizers',
    'VISBACKENDS': 'Visualizer backends',
    'VISUALIZERS': 'Visualizers',
}
_KINDS = {'mmengine': 'MMEngine', 'mmpretrain': 'mmpretrain', 'mmcv': 'mmcv', 'torch': 'PyTorch'}
# Filled in by the code that builds a part, and not by a config.
_NOT_OPTIONS = {
    'DATA_SAMPLERS': {'dataset'},
    'LOOPS': {'runner', 'dataloader', 'evaluator'},
    'MODEL_WRAPPERS': {'module'},
    'OPTIM_WRAPPERS': {'optimizer'},
    'PARAM_SCHEDULERS': {'optimizer'},
}


_INTRODUCTION = (
    '# Options of registered classes',
    'Every class that a config can name as `type`, with its options: type, default and meaning. '
    'Classes of MMEngine, mmcv and mmpretrain can be named too; their own documents describe them.',
)
_ALL = """\
## All classes

**required** in the column of defaults: there is no default. **follows**: the option takes its value from a
top-level key of the config, unless the config sets the option itself."""


class UndescribedOptionsError(Exception):
    """Options without a meaning in the docstring of their class."""


@dataclass(frozen=True)
class Option:
    """One row of a table."""

    name: str
    values: str
    default: str
    meaning: str
    owner: type


def option_pages() -> dict[str, str]:
    """The pages by their place in the site, with an index of all classes.

    Raises:
        UndescribedOptionsError: Lists the options whose meaning no docstring has.
    """
    logging.getLogger('griffe').setLevel(logging.ERROR)
    pages, missing, index = {}, [], []
    for name, registry in _registries():
        classes = _own_classes(registry)
        if not classes:
            continue
        place = name.lower()
        pages[f'reference/options/{place}.md'], undescribed = _page(name, classes)
        missing += undescribed
        index.append((f'[{TITLES[name]}]({place}.md)', f'`{name}`', str(len(classes))))
    if missing:
        lines = '\n'.join(f'  {line}' for line in missing)
        raise UndescribedOptionsError(
            f'Options without a description:\n{lines}\nAdd them to `Args:` of the docstring of their class.'
        )
    pages['reference/options/index.md'] = '\n\n'.join(
        [*_INTRODUCTION, *_knobs(), _ALL, table(('Page', 'Registry', 'Classes'), index)]
    )
    return {name: text.rstrip() + '\n' for name, text in pages.items()}


def _knobs() -> Iterator[str]:
    yield '## Top-level keys that options follow'
    yield 'Set one of them, and all options that follow it change: `--cfg-options image_size=96`.'
    followers = defaultdict(list)
    for _, registry in _registries():
        for cls in _own_classes(registry):
            for option in find_options(cls):
                if key := _followed_key(cls, option.name):
                    followers[key].append(f'`{cls.__name__}.{option.name}`')
    rows = [
        (f'`{key}`', escape(meaning), ', '.join(followers[key])) for key, meaning in KNOBS.items()
    ]
    yield table(('Key', 'Meaning', 'Options'), rows)


def _registries() -> Iterator[tuple[str, Registry]]:
    found = {name: value for name, value in vars(registries).items() if isinstance(value, Registry)}
    if unknown := found.keys() - TITLES.keys():
        raise ValueError(f'Give a title in docs/generator/options.py to: {sorted(unknown)}')
    for name in TITLES:
        registry = found[name]
        registry.import_from_location()
        yield name, registry


def _own_classes(registry: Registry) -> list[type]:
    return list(dict.fromkeys(filter(_is_own, registry.module_dict.values())))


def _is_own(cls: type) -> bool:
    return cls.__module__.startswith('vicmae.')


def _page(name: str, classes: list[type]) -> tuple[str, list[str]]:
    rooms = defaultdict(list)
    for cls in classes:
        rooms[_room(cls)].append(cls)
    several = len(rooms) > 1
    parts, missing = [f'# {TITLES[name]}', f'Registry `{name}` of `vicmae.registry`.'], []
    for room in sorted(rooms):
        if several:
            parts.append(f'## {room.replace("_", " ").capitalize()}')
        for cls in sorted(rooms[room], key=lambda cls: cls.__name__):
            options = [
                option
                for option in find_options(cls)
                if option.name not in _NOT_OPTIONS.get(name, ())
            ]
            missing += [
                f'{cls.__module__}.{cls.__name__}: {option.name}'
                for option in options
                if not option.meaning
            ]
            parts += _section(cls, options, level='###' if several else '##')
    return '\n\n'.join(parts), missing


def _room(cls: type) -> str:
    return cls.__module__.split('.')[2]


def _section(cls: type, options: list[Option], *, level: str) -> list[str]:
    parts = [f'{level} {cls.__name__}', *_description(cls)]
    own = [option for option in options if _is_own(option.owner)]
    foreign = [option for option in options if option not in own]
    head = ('Option', 'Type', 'Default', 'Meaning')
    if own:
        parts.append(table(head, [_row(option) for option in own]))
    if foreign:
        origins = ' and '.join(dict.fromkeys(_origin(option.owner) for option in foreign))
        parts += [f'Options of {origins}:', table(head, [_row(option) for option in foreign])]
    if sizes := getattr(cls, 'model_sizes', {}):
        names = list(next(iter(sizes.values())))
        rows = [
            (f'`{size}`', *(f'`{values[name]}`' for name in names))
            for size, values in sizes.items()
        ]
        parts.append(table(('`model_size`', *(f'`{name}`' for name in names)), rows))
    if not options:
        parts.append('No options.')
    return parts


def _origin(cls: type) -> str:
    return f"{_KINDS.get(cls.__module__.split('.')[0], cls.__module__)}'s `{cls.__name__}`"


def _description(cls: type) -> list[str]:
    """The text of the docstring, and its shapes, without the arguments."""
    parts = []
    for section in _docstring(cls):
        if section.kind is griffe.DocstringSectionKind.text:
            parts += [escape(paragraph) for paragraph in section.value.split('\n\n')]
        elif section.kind is griffe.DocstringSectionKind.admonition:
            language = 'pycon' if section.title == 'Example' else 'text'
            parts += [f'**{section.title}**', f'```{language}\n{section.value.description}\n```']
        elif section.kind is griffe.DocstringSectionKind.examples:
            parts += ['**Example**', *(f'```pycon\n{text}\n```' for _, text in section.value)]
    return parts


def _row(option: Option) -> tuple[str, str, str, str]:
    return f'`{option.name}`', escape(option.values), option.default, option.meaning


def find_options(cls: type) -> list[Option]:
    """The options of a class, its own first, then those of the bases that `**kwargs` reaches."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ != 'builtins':
            meanings.update(_meanings(base))
    options: dict[str, Option] = {}
    set_by_child: set[str] = set()
    for owner in cls.__mro__:
        if '__init__' not in vars(owner):
            continue
        if owner in (object, nn.Module):
            break
        parameters = _parameters(owner)
        for p in parameters:
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in set_by_child:
                options.setdefault(p.name, _option(cls, owner, p, meanings.get(p.name, '')))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
        set_by_child |= _set_for_base(cls, owner)
    return list(options.values())


def _option(cls: type, owner: type, parameter: inspect.Parameter, meaning: str) -> Option:
    default = 'required'
    if parameter.default is not parameter.empty:
        default = f'`{_value(parameter.default)}`'
    if key := _followed_key(cls, parameter.name):
        default = f'follows `{key}`, else {default}'
    annotation = '' if parameter.annotation is parameter.empty else _type(parameter.annotation)
    if not meaning and not _is_own(owner):
        meaning = f'See {_origin(owner)}.'
    return Option(parameter.name, annotation, default, escape(meaning), owner)


def _followed_key(cls: type, option: str) -> str | None:
    """The top-level key of a config that an option follows."""
    if any(option in values for values in getattr(cls, 'model_sizes', {}).values()):
        return 'model_size'
    return getattr(cls, 'follows', {}).get(option)


def _type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        return ' or '.join(map(_type, get_args(annotation)))
    if annotation is NoneType:
        return 'None'
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r'\b(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)', r'\1', text)
    return text.replace(' | ', ' or ').replace('NoneType', 'None')


def _value(default: Any) -> str:
    if callable(default):
        return getattr(default, '__name__', type(default).__name__)
    return repr(default)


def _docstring(cls: type) -> list[Any]:
    text = inspect.cleandoc(vars(cls).get('__doc__') or '')
    return griffe.Docstring(text, parser='google').parse() if text else []


def _meanings(cls: type) -> dict[str, str]:
    """The meaning of each argument that the docstring of the class describes."""
    found = {}
    for section in _docstring(cls):
        if section.kind is griffe.DocstringSectionKind.parameters:
            for argument in section.value:
                text = re.sub(
                    r'\(?\bDefaults? (?:to|value is):? .*$',
                    '',
                    argument.description,
                    flags=re.DOTALL,
                )
                found[argument.name.lstrip('*')] = text.strip()
    return found


def _parameters(cls: type) -> list[inspect.Parameter]:
    """The parameters of the class's own `__init__`."""
    return list(inspect.signature(vars(cls)['__init__']).parameters.values())[1:]


def _set_for_base(cls: type, owner: type) -> set[str]:
    """The arguments of the next base of `cls` that `owner.__init__` passes by itself."""
    bases = cls.__mro__[cls.__mro__.index(owner) + 1 :]
    base = next(base for base in bases if '__init__' in vars(base))
    positional = [p.name for p in _parameters(base) if p.kind is p.POSITIONAL_OR_KEYWORD]
    tree = ast.parse(textwrap.dedent(inspect.getsource(vars(owner)['__init__'])))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'super().__init__':
            names |= {keyword.arg for keyword in node.keywords if keyword.arg}
            given = sum(not isinstance(argument, ast.Starred) for argument in node.args)
            names |= set(positional[:given])
    return names
