# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae verify-export`."""

import argparse
import sys

HELP = 'Open an export with the library it is for, and compare tensors and features.'
_EPILOG = """\
exit status:
  1 if a tensor was dropped, set to zero or not loaded, or if features differ, else 0

example:
  vicmae verify-export exports/timm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument('folder', metavar='DIR', help='folder that `vicmae export` wrote')


def run(args: argparse.Namespace) -> None:
    """Compares."""
    from vicmae.exchange import verify_export

    findings = verify_export(args.folder)
    for finding in findings:
        print(f'{"ok  " if finding.ok else "BAD "} {finding.text}')
    if not all(finding.ok for finding in findings):
        sys.exit(1)
