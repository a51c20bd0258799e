# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae test`."""

import argparse
import os

from vicmae.config.paths import find_config

from . import common

HELP = 'Evaluate a checkpoint: kNN on images and videos, or the metrics of its config.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    common.add_config_argument(parser)
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
        help='what goes into --out: metrics, or the predictions for each sample',
    )
    parser.add_argument('--amp', action='store_true', help='test in mixed precision')
    parser.add_argument('--seed', type=int, help='seed of random weights')
    common.add_config_options(parser)
    common.add_trust_option(parser)
    common.add_launcher_options(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluates a checkpoint."""
    if (args.checkpoint is None) != args.random_init:
        args.parser.error('give a checkpoint, or --random-init for random weights (not both)')
    if args.out_item == 'pred' and not (args.out or '').endswith('.pkl'):
        args.parser.error('--out-item pred needs --out FILE.pkl')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = find_config(args.config)
    # Imported here, so that --help and a wrong name are answered at once.
    from vicmae.apis import build_runner, load_config, load_model
    from vicmae.checkpoints.fit import load_weights
    from vicmae.config.options import apply_test_options, report_metrics

    cfg = load_config(config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{config.stem}'
    apply_test_options(cfg, args)
    runner = build_runner(cfg, training=False)
    if args.random_init:  # drawn whole, also for a sharded model
        weights = load_model(cfg, seed=runner.seed).state_dict()
        load_weights(runner.model, weights, source='a random initialization')
    report_metrics(runner.test(), args)
