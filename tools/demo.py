#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The whole path in minutes: pretrain a tiny ViC-MAE on drawn images and videos, measure it, write a report.

Goes on where an earlier call was interrupted, and does nothing twice.
"""

import argparse
import sys
from pathlib import Path

try:
    from vicmae.cli.common import run_tool
    from vicmae.demo.run import CONFIG, Demo
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='where everything goes (work_dirs/demo, with another seed work_dirs/demo-seedN)',
    )
    parser.add_argument(
        '--config', default=CONFIG, help='another pretraining config of the project'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, samples and masks')
    parser.add_argument(
        '--fresh', action='store_true', help='start over, even where a run is complete'
    )
    return parser.parse_args()


def main() -> None:
    """Runs what is left of the demo."""
    args = parse_args()
    folder = 'work_dirs/demo' if args.seed == 0 else f'work_dirs/demo-seed{args.seed}'
    Demo(args.work_dir or Path(folder), config=args.config, seed=args.seed, fresh=args.fresh).run()


if __name__ == '__main__':
    run_tool(main, when_interrupted='The same command goes on from the last epoch.')
