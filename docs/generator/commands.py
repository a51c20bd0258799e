# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the page of commands from their argument parsers."""

import argparse
import textwrap

from vicmae.cli.main import find_commands

from .text import escape, table

INTRODUCTION = """\
# Commands

Every command of `vicmae` with all of its options. `vicmae --help` lists the commands, and
`vicmae COMMAND --help` the options of one. `python -m vicmae` is the same as `vicmae`.
"""


def command_page() -> str:
    """The page with a section for each command."""
    sections = [_section(name, module) for name, module in find_commands().items()]
    return '\n\n'.join([INTRODUCTION, *sections]) + '\n'


def _section(name: str, module: object) -> str:
    # A fixed width, so that the page doesn't depend on the terminal.
    parser = argparse.ArgumentParser(
        prog=f'vicmae {name}',
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=90),
    )
    module.add_arguments(parser)  # type: ignore[attr-defined]
    text = escape(_sentence(module.HELP))  # type: ignore[attr-defined]
    usage = textwrap.dedent(
        ' ' * len('usage: ') + parser.format_usage().removeprefix('usage: ')
    ).rstrip()
    rows = [
        (_names(action), _default(action), escape(_sentence(_meaning(parser, action))))
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]
    parts = [f'## vicmae {name}', text, f'```text\n{usage}\n```']
    if rows:
        parts.append(table(('Option', 'Default', 'Meaning'), rows))
    return '\n\n'.join(parts)


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f'`{action.metavar or action.dest}`'
    value = ''
    if action.nargs != 0:
        choices = '|'.join(map(str, action.choices)) if action.choices else ''
        value = f' {action.metavar or choices or action.dest.upper()}'
    return ', '.join(f'`{name}{value}`' for name in action.option_strings)


def _default(action: argparse.Action) -> str:
    if action.required and action.nargs != argparse.ZERO_OR_MORE:
        return 'required'
    if action.default in (None, argparse.SUPPRESS, False) or action.default == {}:
        return ''
    return f'`{action.default}`'


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if not action.help:
        raise ValueError(f'{parser.prog}: {_names(action)} has no help text.')
    return parser._get_formatter()._expand_help(action)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ('' if text.endswith('.') else '.')
