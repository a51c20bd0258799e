# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae configs`."""

import argparse
import ast

from vicmae.config.paths import find_config, list_configs
from vicmae.errors import ConfigError

from .common import end_when_output_is_closed

HELP = 'List the configs that vicmae brings along, by name.'
NEEDS_PACKAGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument('words', nargs='*', metavar='WORD', help='list those with all of the words')
    parser.add_argument('--path', metavar='CONFIG', help='print where this config is')


def run(args: argparse.Namespace) -> None:
    """Prints a name and what it is for in each line."""
    if args.path:
        print(find_config(args.path))
        return
    end_when_output_is_closed()
    titles = {}
    for path in list_configs():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        title = docstring.partition('\n')[0]
        if all(word.lower() in f'{path} {title}'.lower() for word in args.words):
            titles[path.stem] = title
    if not titles:
        raise ConfigError(f'No config has all of these words: {" ".join(args.words)}.')
    width = max(map(len, titles))
    for name, title in titles.items():
        print(f'{name:<{width}}  {title}')
