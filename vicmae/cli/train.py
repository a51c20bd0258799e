# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae train`."""

import argparse
import os
import shlex
import sys

from vicmae.config.paths import find_config
from vicmae.errors import ConfigError
from vicmae.utils import preemption
from vicmae.utils.work_dir import claim_work_dir, find_checkpoint

from . import common

HELP = 'Train what a config describes, or on your own folders.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        'config', nargs='?', help='path of a config, or a name that `vicmae configs` lists'
    )
    _add_quick_start_options(parser)
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


def _add_quick_start_options(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group(
        'own folders, without a config',
        'They write OUT/config.py, which can be edited, and train it in OUT/run.',
    )
    own.add_argument('--images', metavar='DIR', help='images, in any sub-folders')
    own.add_argument('--videos', metavar='DIR', help='videos, in any sub-folders')
    own.add_argument(
        '--labelled',
        metavar='DIR',
        help='images or videos in a folder for each class, or in `train` and `val` with these: measures kNN accuracy',
    )
    own.add_argument(
        '--method',
        choices=['vicmae', 'mae', 'videomae', 'maest', 'omnimae'],
        help='how to pretrain (default: vicmae); videomae and maest take videos alone',
    )
    own.add_argument('--out', metavar='DIR', help='folder of the config and the run')
    own.add_argument('--image-size', type=int, metavar='PIXELS', help='default: 224')
    own.add_argument(
        '--patch-size',
        type=int,
        metavar='PIXELS',
        help='default: 16, or a smaller one that gives 8 x 8 patches or more',
    )
    own.add_argument(
        '--size',
        choices=['tiny', 'small', 'base', 'large', 'huge'],
        help='size of the model (default: small)',
    )
    own.add_argument('--epochs', type=int, help='length of the run (default: 100)')
    own.add_argument('--batch-size', type=int, help='default: 64, or all samples if they are fewer')
    own.add_argument(
        '--config-only', action='store_true', help='write OUT/config.py, and do not train'
    )


def run(args: argparse.Namespace) -> None:
    """Trains a config."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    preemption.require_not_preempted()
    preemption.end_on_signals()
    if args.config is None or _own_folder_options(args):
        args.config = _write_config(args)
        if args.config_only:
            return
    config = find_config(args.config)
    # Imported here, so that --help and a wrong name are answered at once.
    from vicmae.apis import build_runner, load_config
    from vicmae.config.options import apply_train_options, train_overrides

    cfg = load_config(config, lambda cfg: train_overrides(cfg, args))
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


# What replaces an option for own folders where a config is given.
_KEYS = {
    'image_size': 'image_size',
    'patch_size': 'patch_size',
    'size': 'model_size',
    'epochs': 'train_cfg.max_epochs',
    'batch_size': 'train_dataloader.batch_size',
}


def _own_folder_options(args: argparse.Namespace) -> list[str]:
    """Returns the names of the given options that write a config."""
    names = ('images', 'videos', 'labelled', 'method', 'out', *_KEYS, 'config_only')
    return [name for name in names if getattr(args, name) not in (None, False)]


def _write_config(args: argparse.Namespace) -> str:
    """Writes the config of a run on own folders, and returns its path."""
    given = _own_folder_options(args)
    if args.config is not None:
        options = ', '.join(f'`--{name.replace("_", "-")}`' for name in given)
        keys = ' '.join(f'{_KEYS[name]}={getattr(args, name)}' for name in given if name in _KEYS)
        instead = f' For a config, use `--cfg-options {keys}`.' if keys else ''
        raise ConfigError(
            f'{options}: only without a config, and {args.config!r} is given as well.{instead}'
        )
    if not (args.images or args.videos):
        raise ConfigError(
            'Give a config (`vicmae configs` lists names), or folders to train on: `--images DIR`, `--videos DIR`.'
        )
    if args.out is None:
        raise ConfigError('Name a folder for the config and the run: `--out DIR`.')
    if args.launcher != 'none':
        raise ConfigError(
            'On several processes, write the config first (`--config-only`, without a launcher), then train '
            'OUT/config.py.'
        )
    from vicmae.config.quick_start import QuickStart

    values = {name: getattr(args, name) for name in given if name not in ('size', 'config_only')}
    start = QuickStart(**values, **({'model_size': args.size} if args.size else {}))
    if args.resume and start.path.exists():
        print(f'Resuming with the settings in {start.path}.', file=sys.stderr)
        return str(start.path)
    before = start.path.exists()
    path = start.write(overwrite=args.overwrite)
    if not before or args.overwrite:
        command = shlex.join(['vicmae', 'train', str(path)])
        print(f'Wrote {path}. You can edit it, and train it again: `{command}`.', file=sys.stderr)
    return str(path)


def _what_is_saved(args: argparse.Namespace) -> str:
    """Returns what to say after Ctrl-C."""
    if args.work_dir and find_checkpoint(args.work_dir):
        return '`--resume` continues from the last checkpoint, which `last_checkpoint` in the work directory names.'
    return 'No checkpoint has been written yet: nothing is saved.'


WHEN_INTERRUPTED = _what_is_saved
