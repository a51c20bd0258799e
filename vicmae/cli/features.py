# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae features`."""

import argparse
import os
import re
import sys
from contextlib import redirect_stdout

from . import common

HELP = 'Encode images and videos of any length to a file of features, .parquet or .npz.'
WHEN_INTERRUPTED = 'The same command continues where it was.'
_EPILOG = """\
INPUT is a file, a folder, or a list (.txt, .lst, .list, .csv) of `path` lines. A row of FILE has the path, the numbers
of the frames, when they are shown (in seconds after the first frame) and the feature. Files that can't be read, and
videos that are shorter than a window or damaged, are listed in FILE.bad_files.jsonl. Interrupted or killed, the same
command continues where it was, also with another number of processes.

examples:
  vicmae features epoch_100.pth photos/ --out photos.parquet
  vicmae features epoch_100.pth videos/ --window 2s --stride 1s --out windows.parquet
  vicmae features epoch_100.pth photo.jpg --dense --out patches.npz
  torchrun --nproc-per-node 8 -m vicmae features epoch_100.pth videos/ --out videos.parquet --launcher pytorch
"""
_UNITS = {'': 1.0, 's': 1.0, 'ms': 1e-3, 'm': 60.0, 'min': 60.0}


def seconds(text: str) -> float:
    """Reads a duration: 2, 2s, 500ms or 1min."""
    match = re.fullmatch(r'\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*', text)
    if not match or match[2] not in _UNITS or not float(match[1]):
        raise argparse.ArgumentTypeError(f'a duration such as 2s, 500ms or 1min, got {text!r}')
    return float(match[1]) * _UNITS[match[2]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='path of the weights')
    add('inputs', nargs='+', metavar='INPUT', help='file, folder or list')
    add('--out', required=True, metavar='FILE', help='the output, .parquet or .npz')
    add('--config', help='path or name of the config (the one that the checkpoint stores)')
    add(
        '--window',
        type=seconds,
        help='one feature per window of a video, such as 2s (the whole video)',
    )
    add('--stride', type=seconds, help='from one window to the next, such as 1s (the window)')
    text = 'evenly spaced frames of a window or video (8, or those of a model of clips)'
    add('--num-frames', type=int, metavar='N', help=text)
    kinds = parser.add_mutually_exclusive_group()
    text = 'a feature of each frame, or time step of a model of clips'
    kinds.add_argument('--per-frame', action='store_true', help=text)
    text = 'the features of all patches of each frame or time step'
    kinds.add_argument('--dense', action='store_true', help=text)
    text = 'frames, or clips for a model of clips, that are encoded together (%(default)s)'
    add('--batch-size', type=int, default=64, metavar='N', help=text)
    add(
        '--workers',
        type=int,
        metavar='N',
        help='processes that read files; 0 for none (one per core)',
    )
    add('--device', help='such as cpu or cuda:1 (a GPU if there is one)')
    text = 'start over instead of continuing, and replace FILE'
    add('--fresh', action='store_true', help=text)
    common.add_trust_option(parser)
    common.add_launcher_options(parser)


def run(args: argparse.Namespace) -> None:
    """Encodes the files."""
    if args.stride is not None and args.window is None:
        args.parser.error('--stride is the distance of windows: give --window, too')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    from rich.console import Console

    from vicmae.data_tools.features.run import write_features

    options = (
        'config',
        'window',
        'stride',
        'num_frames',
        'batch_size',
        'device',
        'fresh',
        'launcher',
    )
    with redirect_stdout(sys.stderr):  # of logs
        written = write_features(
            args.checkpoint,
            args.inputs,
            args.out,
            output='dense' if args.dense else 'frames' if args.per_frame else 'pooled',
            num_workers=args.workers,
            console=Console(stderr=True, highlight=False),
            **{name: getattr(args, name) for name in options},
        )
    if written.text:
        print(written.text)
