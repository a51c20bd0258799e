# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae demo`."""

import argparse
from pathlib import Path

HELP = 'Pretrain a tiny model on drawn images and videos, evaluate it, and write a report.'
WHEN_INTERRUPTED = 'The same command continues from the last epoch.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='where checkpoints and the report go (work_dirs/demo, with another seed work_dirs/demo-seedN); '
        'the data go to data/demo',
    )
    parser.add_argument(
        '--config',
        help='another pretraining config, such as one of your own data; with the --work-dir of a run that '
        '`vicmae train` made, the report is about that run',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, samples and masks')
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='delete an earlier demo and start over: by default it is resumed, or moved aside if seed or config differ',
    )


def run(args: argparse.Namespace) -> None:
    """Runs what is left of the demo."""
    from vicmae.demo.run import Demo

    folder = 'work_dirs/demo' if args.seed == 0 else f'work_dirs/demo-seed{args.seed}'
    Demo(args.work_dir or Path(folder), config=args.config, seed=args.seed, fresh=args.fresh).run()
