#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs a training step alone that was skipped as its losses or gradients were not finite, and says where it begins."""

import argparse
import sys

try:
    from vicmae.cli.common import run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('record', help='folder of the step, WORK_DIR/bad_steps/iter_N')
    parser.add_argument('--rank', type=int, default=0, help='whose batch (%(default)s)')
    parser.add_argument('--checkpoint', help='weights in the place of the recorded ones')
    parser.add_argument(
        '--device', choices=['cpu', 'cuda'], default='cpu', help='where to compute (%(default)s)'
    )
    parser.add_argument(
        '--amp',
        action=argparse.BooleanOptionalAction,
        help='compute in mixed precision or not (as the run did)',
    )
    return parser.parse_args()


def main() -> None:
    """Runs the step."""
    args = parse_args()
    from vicmae.health.replay import print_replay, replay

    print_replay(
        replay(
            args.record,
            rank=args.rank,
            checkpoint=args.checkpoint,
            device=args.device,
            amp=args.amp,
        )
    )


if __name__ == '__main__':
    run_tool(main)
