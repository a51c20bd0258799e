# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`python -m vicmae`: commands about the installation. Training and testing are in `tools/`."""

from __future__ import annotations

import argparse
import sys

from vicmae.health.doctor import run_doctor
from vicmae.version import __version__


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line. argparse ends the program with status 2 if it can't."""
    parser = argparse.ArgumentParser(prog='python -m vicmae', description=__doc__)
    parser.add_argument('--version', action='version', version=f'vicmae {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    doctor = 'print the state of this machine and what mends each fault; status 1 if there is one'
    commands.add_parser('doctor', help=doctor, description=doctor)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    parse_arguments(arguments)
    return run_doctor(sys.stdout)


if __name__ == '__main__':
    sys.exit(main())
