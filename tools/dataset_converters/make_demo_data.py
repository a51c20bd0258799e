#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the demo data set: small JPEG images and H.264 videos in class folders."""

import argparse
import sys

try:
    from vicmae.cli.common import run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', default='data/demo', help='folder to write to (%(default)s)')
    parser.add_argument(
        '--seed', type=int, default=0, help='the pictures depend on it alone (%(default)s)'
    )
    parser.add_argument(
        '--workers', type=int, help='processes that draw (one per core, eight at most)'
    )
    parser.add_argument(
        '--preset',
        choices=['demo', 'debug'],
        default='demo',
        help='how much to write (%(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    """Writes the data set, or continues it."""
    args = parse_args()
    from vicmae.demo.data import make_demo_data

    make_demo_data(args.root, preset=args.preset, seed=args.seed, num_workers=args.workers)


if __name__ == '__main__':
    run_tool(main)
