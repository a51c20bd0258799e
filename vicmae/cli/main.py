# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae COMMAND`: every file of this folder is a command, but for this one and `common.py`.

A command has `HELP`, `add_arguments(parser)` and `run(args)`; `args.parser` is its parser. It may have
`WHEN_INTERRUPTED`, a hint that is printed after Ctrl-C or a function from `args` to one, and `NEEDS_PACKAGES = False`
if it also works where packages are missing. All of them are imported to print `--help`: import what is heavy in `run`.
"""

import argparse
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import vicmae
from vicmae.environment import check_environment

from .common import run_tool


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command of `vicmae`.

    Args:
        arguments: The command line without the name of the program, by default that of this process.
    """
    parser = argparse.ArgumentParser(prog='vicmae', description=vicmae.__doc__)
    parser.add_argument('--version', action='version', version=f'vicmae {vicmae.__version__}')
    arguments = sys.argv[1:] if arguments is None else arguments
    subparsers = parser.add_subparsers(metavar='COMMAND', required=True)
    for name, module in find_commands().items():
        _prepare(subparsers.add_parser(name, help=module.HELP, description=module.HELP), module)
    if not arguments:
        parser.print_help(sys.stderr)
        sys.exit(2)
    _run(parser.parse_args(arguments))


def run_command(name: str) -> None:
    """Runs one command as a separate program, such as `tools/train.py`."""
    module = find_commands()[name]
    parser = argparse.ArgumentParser(description=module.HELP)
    _prepare(parser, module)
    _run(parser.parse_args())


def find_commands() -> dict[str, ModuleType]:
    """Returns the modules of all commands, by the name that a user types."""
    files = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return {
        name.replace('_', '-'): import_module(f'vicmae.cli.{name}')
        for name in files
        if name not in ('common', 'main')
    }


def _prepare(parser: argparse.ArgumentParser, command: ModuleType) -> None:
    command.add_arguments(parser)
    parser.set_defaults(command=command, parser=parser)


def _run(args: argparse.Namespace) -> None:
    def checked() -> None:
        # `import vicmae` leaves the check to this, so that `--help` and the doctor work in any environment.
        if getattr(args.command, 'NEEDS_PACKAGES', True):
            check_environment()
        args.command.run(args)

    hint = getattr(args.command, 'WHEN_INTERRUPTED', '')
    run_tool(checked, when_interrupted=partial(hint, args) if callable(hint) else hint)
