# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae configs`."""

import argparse
import ast
from itertools import groupby

from vicmae.config.paths import find_config, list_configs, project_file
from vicmae.errors import ConfigError

from . import common

HELP = 'List the configs that vicmae brings along, show one with all its values, or compare two.'
NEEDS_PACKAGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument('words', nargs='*', metavar='WORD', help='list those with all of the words')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--path', metavar='CONFIG', help='print where this config is')
    one.add_argument(
        '--show',
        metavar='CONFIG',
        help='print each value of the resolved config, by its key for --cfg-options, and the file that set it',
    )
    one.add_argument(
        '--diff',
        nargs=2,
        metavar=('A', 'B'),
        help='print the values that differ between two configs',
    )
    one.add_argument(
        '--flops',
        metavar='CONFIG',
        help='count what training costs: floating-point operations of one sample of each source',
    )
    common.add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Lists, shows, compares or counts configs."""
    if (args.words and (args.path or args.show or args.diff or args.flops)) or (
        args.cfg_options and not (args.show or args.flops)
    ):
        args.parser.error('WORD lists configs, and --cfg-options belongs to --show and --flops')
    common.end_when_output_is_closed()
    if args.path:
        print(find_config(args.path))
    elif args.show:
        _show(args)
    elif args.diff:
        _diff(*args.diff)
    elif args.flops:
        _count_flops(args)
    else:
        _list(args.words)


def _list(words: list[str]) -> None:
    """Prints the configs of each folder: a name and what it is for in each line."""
    titles = {}
    for path in sorted(list_configs(), key=lambda path: (path.parent, path)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        title = docstring.partition('\n')[0]
        text = f'{path} {title}'.lower()
        titles[path] = title, [word for word in words if word.lower() not in text]
    found = {path: title for path, (title, missing) in titles.items() if not missing}
    if not found:
        nowhere = [word for word in words if all(word in missing for _, missing in titles.values())]
        about = f' None has {", ".join(nowhere)}.' if nowhere and len(words) > 1 else ''
        raise ConfigError(f'No config has all of these words: {" ".join(words)}.{about}')
    root = project_file('configs')
    for folder, paths in groupby(found, key=lambda path: path.parent):
        names = {path.stem: found[path] for path in paths}
        print(f'{folder.relative_to(root).as_posix()}:')
        width = max(map(len, names))
        for name, title in names.items():
            print(f'  {name:<{width}}  {title}')


def _show(args: argparse.Namespace) -> None:
    """Prints the values of a config, those from one file under its name."""
    from vicmae.config.origins import values_with_origins

    values = values_with_origins(args.show, args.cfg_options)
    lines = [(f'{key} = {value!r}', origin) for key, (value, origin) in values.items()]
    width = min(76, max(len(text) for text, _ in lines))
    for text, origin in lines:
        print(f'{text:<{width}}  # {origin}' if origin else text)


def _diff(first: str, second: str) -> None:
    """Prints the values that two configs do not share."""
    from vicmae.config.load import load_config
    from vicmae.config.origins import values_of

    a, b = (values_of(load_config(config)) for config in (first, second))
    keys = [key for key in {**a, **b} if key not in a or key not in b or a[key] != b[key]]
    if not keys:
        print('The two configs have the same values.')
    for key in keys:
        for sign, values in (('-', a), ('+', b)):
            if key in values:
                print(f'{sign} {key} = {values[key]!r}')


def _count_flops(args: argparse.Namespace) -> None:
    """Prints the floating-point operations of one sample of each source, one source in each line."""
    from vicmae.apis import count_flops, load_config

    costs = count_flops(load_config(args.flops, args.cfg_options or {}))
    width = max(map(len, costs))
    for name, cost in costs.items():
        unit, scale = ('GFLOPs', 1e9) if cost.total >= 1e9 else ('MFLOPs', 1e6)
        total, forward, backward = (
            f'{number / scale:.4g}' for number in (cost.total, cost.forward, cost.backward)
        )
        print(f'{name:<{width}}  {total} {unit} a sample (forward {forward} + backward {backward})')
