#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Write the demo data set: small JPEG images and H.264 videos in class folders."""

import argparse
import sys

from vicmae.datasets.demo import PRESETS, make_demo_data


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--root', default='data/demo', help='folder to write to (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='the pictures depend on it alone (default: %(default)s)'
    )
    parser.add_argument(
        '--workers', type=int, help='processes that draw (default: one per core, eight at most)'
    )
    parser.add_argument(
        '--preset', choices=PRESETS, default='demo', help='how much to write (default: %(default)s)'
    )
    return parser.parse_args()


def main() -> int:
    """Write the data set, or say in one line why not."""
    args = parse_args()
    try:
        make_demo_data(args.root, preset=args.preset, seed=args.seed, num_workers=args.workers)
    except (ValueError, OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; run it again to go on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
