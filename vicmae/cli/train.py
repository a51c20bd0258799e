# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae train`."""

import argparse
import os

from vicmae.config.paths import find_config
from vicmae.utils import preemption
from vicmae.utils.work_dir import claim_work_dir, find_checkpoint

from . import common

HELP = 'Train what a config describes.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    common.add_config_argument(parser)
    parser.add_argument('--work-dir', help='where logs and checkpoints go (work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, by default from the last one in the work directory',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start a new run where the work directory holds another one, which is moved to WORK_DIR.old-1 '
        '(-2, ...); has no effect with --resume',
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
    common.add_config_options(parser)
    common.add_trust_option(parser)
    common.add_launcher_options(parser)


def run(args: argparse.Namespace) -> None:
    """Trains."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    preemption.require_not_preempted()
    preemption.end_on_signals()
    config = find_config(args.config)
    # Imported here, so that --help and a wrong name are answered at once.
    from vicmae.apis import build_runner, load_config
    from vicmae.config.options import apply_train_options, train_overrides

    cfg = load_config(config, train_overrides(args))
    apply_train_options(cfg, args)
    args.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{config.stem}'
    cfg.work_dir = args.work_dir
    claim_work_dir(
        cfg.work_dir,
        overwrite=args.overwrite,
        resumes=bool(cfg.get('resume')),
        launcher=args.launcher,
    )
    build_runner(cfg, training=True).train()


def _what_is_saved(args: argparse.Namespace) -> str:
    """Returns what to say after Ctrl-C."""
    if args.work_dir and find_checkpoint(args.work_dir):
        return '`--resume` continues from the last checkpoint, which `last_checkpoint` in the work directory names.'
    return 'No checkpoint has been written yet: nothing is saved.'


WHEN_INTERRUPTED = _what_is_saved
