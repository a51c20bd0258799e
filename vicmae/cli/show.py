# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae show`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from . import common

HELP = (
    'Look inside a model: colours of patches, attention, nearest patches, reconstructions, as pictures '
    'and a page.'
)
_EPILOG = """\
examples:
  vicmae show work_dirs/demo/epoch_16.pth photos/ walk.mp4
  vicmae show mae.pth photos/ --compare vicmae.pth --what pca attention
"""
_WHAT = ('pca', 'attention', 'nearest', 'reconstruction')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='path of the weights')
    add('inputs', nargs='+', metavar='INPUT', help='image, video, or folder of them')
    text = 'config of the checkpoints, or one for each in their order (the one that each stores)'
    add('--config', nargs='+', metavar='CONFIG', help=text)
    text = 'what to show (all that the checkpoints and the inputs allow)'
    add('--what', nargs='+', choices=_WHAT, metavar='WHAT', help=f'{text}: {", ".join(_WHAT)}')
    text = 'folder of the pictures and of index.html (%(default)s)'
    add('--out', type=Path, default=Path('work_dirs/show'), metavar='DIR', help=text)
    text = "evenly spaced frames of a video (8, or the frames of the model's clips)"
    add('--frames', type=_positive, metavar='N', help=text)
    text = 'further checkpoints, shown side by side; after the inputs'
    add('--compare', nargs='+', default=[], metavar='CHECKPOINT', help=text)
    text = 'show at most so many inputs, evenly spread (%(default)s)'
    add('--number', type=_positive, default=16, metavar='N', help=text)
    text = 'point of the patch whose nearest patches are shown, in shares of width and height (the centre)'
    add('--point', nargs=2, type=_share, default=(0.5, 0.5), metavar=('X', 'Y'), help=text)
    add('--seed', type=int, default=0, metavar='N', help='seed of the masks (%(default)s)')
    add('--device', help='such as cpu or cuda:1 (a GPU if there is one)')
    common.add_config_options(parser)
    common.add_trust_option(parser)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a number of at least 1, got {text!r}')
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'must be from 0 to 1, got {text!r}')
    return value


def run(args: argparse.Namespace) -> None:
    """Draws the pictures, and prints the path of the page."""
    import torch
    from rich.console import Console

    from vicmae.apis.show import show_inside
    from vicmae.errors import ConfigError
    from vicmae.utils.files import require_folder, why_unwritten
    from vicmae.utils.names import distinct_names
    from vicmae.utils.progress import share_bar
    from vicmae.visualization.inside_page import write_inside

    checkpoints = [args.checkpoint, *args.compare]
    if args.config and len(args.config) not in (1, len(checkpoints)):
        args.parser.error(
            f'--config takes one config for all checkpoints, or one for each of the {len(checkpoints)}; '
            f'got {len(args.config)}'
        )
    if args.cfg_options and not args.config:
        args.parser.error('--cfg-options changes a config: give --config, too')
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    _require_device(args.device)
    models = dict(zip(distinct_names(checkpoints), _load_models(args, checkpoints), strict=True))
    console = Console(stderr=True)
    with share_bar('looking', console) as report:
        inside = show_inside(
            models,
            args.inputs,
            what=args.what,
            num_frames=args.frames,
            number=args.number,
            point=tuple(args.point),
            seed=args.seed,
            report=report,
        )
    require_folder(args.out, '--out')
    facts = {f'model {label}': path for label, path in zip(models, checkpoints, strict=True)}
    facts['command'] = shlex.join(['vicmae', *sys.argv[1:]])
    for note in inside.notes:
        print(note, file=sys.stderr)
    try:
        with share_bar('drawing', console) as report:
            page = write_inside(inside, args.out, facts, report=report)
    except OSError as error:
        raise ConfigError(
            f"Can't write to `--out` {str(args.out)!r}: {why_unwritten(error)}. Choose another folder."
        ) from error
    print(page)


def _require_device(device: str) -> None:
    """Refuses a device that this machine doesn't have."""
    import torch

    from vicmae.errors import ConfigError

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise ConfigError(
            f"`--device` {device!r} can't be used: {reason}. Use cpu, or cuda on a machine with a GPU."
        ) from error


def _load_models(args: argparse.Namespace, checkpoints: list[str]) -> list[Any]:
    """Loads each checkpoint with its config."""
    from vicmae.apis import load_config, load_model

    configs: list[Any] = args.config or [None]
    configs = [config and load_config(config, args.cfg_options) for config in configs]
    configs *= len(checkpoints) // len(configs)
    return [
        load_model(config, checkpoint, device=args.device)
        for config, checkpoint in zip(configs, checkpoints, strict=True)
    ]
