# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae doctor`."""

import argparse
import sys

from .common import end_when_output_is_closed

HELP = 'Check this machine and print how to fix its faults; status 1 if training cannot work.'
NEEDS_PACKAGES = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing."""


def run(args: argparse.Namespace) -> None:
    """Prints the report."""
    from vicmae.health.doctor import run_doctor

    end_when_output_is_closed()
    sys.exit(run_doctor(sys.stdout))
