#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Puts a sharded checkpoint, a folder with a part of each process, together to one file."""

import argparse
import sys
from pathlib import Path

try:
    from vicmae.utils.cli import run_tool
except ImportError as error:
    sys.exit(
        f'error: {error}\nIn a source tree, `make setup` installs vicmae and what it needs into .venv; '
        '`source .venv/bin/activate` makes it the python of this shell.'
    )

EXAMPLE = """\
example:
  python tools/model_converters/gather.py work_dirs/run/epoch_3.sharded epoch_3.pth
  python tools/train.py CONFIG --resume epoch_3.pth
"""


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', metavar='FOLDER', help='the sharded checkpoint')
    parser.add_argument('output', metavar='OUT.pth', help='the checkpoint to write')
    parser.add_argument('--force', action='store_true', help='write over OUT.pth where it exists')
    return parser.parse_args()


def main() -> None:
    """Gathers."""
    args = parse_args()
    from vicmae.utils.checkpoint_parts import gather_to_file

    gather_to_file(args.folder, args.output, force=args.force)
    print(f'{args.output}: {Path(args.output).stat().st_size / 1e6:,.1f} MB')


if __name__ == '__main__':
    run_tool(main)
