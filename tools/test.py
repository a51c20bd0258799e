#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Measures what a checkpoint is worth: kNN on images and videos for a pretraining config, else its own metric."""

import argparse
import os
import sys
from pathlib import Path

try:
    from vicmae.cli import common as cli
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', nargs='?', help='path of the checkpoint')
    parser.add_argument(
        '--random-init', action='store_true', help='test random weights instead, as a baseline'
    )
    parser.add_argument('--work-dir', help='where logs and figures go (work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--out', help='file for the result: .json for metrics, .pkl for predictions'
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='metrics',
        help='what goes into --out: figures, or what the model said of each sample',
    )
    parser.add_argument('--amp', action='store_true', help='test in mixed precision')
    parser.add_argument('--seed', type=int, help='seed of random weights')
    cli.add_config_options(parser)
    cli.add_trust_option(parser)
    cli.add_launcher_options(parser)
    args = parser.parse_args()
    if (args.checkpoint is None) != args.random_init:
        parser.error('give a checkpoint, or --random-init for random weights (not both)')
    if args.out_item == 'pred' and not (args.out or '').endswith('.pkl'):
        parser.error('--out-item pred needs --out FILE.pkl')
    return args


def main() -> None:
    """Tests."""
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    # Imported here, so that --help and a typing error answer at once.
    from vicmae.apis import build_runner, draw_weights, load_config
    from vicmae.config.options import apply_test_options, report_metrics

    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    apply_test_options(cfg, args)
    runner = build_runner(cfg, training=False)
    if args.random_init:
        draw_weights(getattr(runner.model, 'module', runner.model), runner.seed)
    report_metrics(runner.test(), args)


if __name__ == '__main__':
    cli.run_tool(main)
