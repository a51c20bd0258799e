#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Trains what a config describes."""

import argparse
import os
import sys
from pathlib import Path

try:
    from vicmae.cli import common as cli
    from vicmae.utils import preemption
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default from the last one in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='leave the evaluation out')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the batch size in use',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='leave memory unpinned in loaders'
    )
    parser.add_argument(
        '--no-persistent-workers', action='store_true', help='start new workers in each epoch'
    )
    parser.add_argument('--seed', type=int, help='seed of weights, samples and masks')
    parser.add_argument(
        '--deterministic', action='store_true', help='use deterministic GPU kernels only'
    )
    cli.add_config_options(parser)
    cli.add_trust_option(parser)
    cli.add_launcher_options(parser)
    return parser.parse_args()


def main() -> None:
    """Trains."""
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    preemption.require_not_preempted()
    preemption.end_on_signals()
    # Imported here, so that --help and a typing error answer at once.
    from vicmae.apis import build_runner, load_config
    from vicmae.config.options import apply_train_options, train_overrides

    cfg = load_config(args.config, train_overrides(args))
    apply_train_options(cfg, args)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    build_runner(cfg, training=True).train()


if __name__ == '__main__':
    cli.run_tool(
        main,
        when_interrupted='`--resume` goes on from the last checkpoint, which `last_checkpoint` in the work '
        'directory names.',
    )
