#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts public checkpoints of other methods to vicmae's format, and reports each key.

Those of the official ViC-MAE code and of MAE are converted back, too. Those of MAE-ST, VideoMAE, VideoMAEv2 and OmniMAE
are only read: of pretraining, with the decoder, or fine-tuned, with the classifier.
"""

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

try:
    from vicmae.cli.common import add_trust_option, run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')
if TYPE_CHECKING:
    from vicmae.apis import Conversion

# Written out: `vicmae.apis.CHECKPOINT_FORMATS` takes seconds to import.
FORMATS = [
    'vicmae', 'vicmae-official', 'mae', 'mae-st', 'videomae', 'videomae-v2', 'omnimae', 'hf', 'timm',
]  # fmt: skip
EXAMPLE = """\
examples:
  python tools/model_converters/convert.py --from mae --to vicmae mae_pretrain_vit_base.pth mae.pth
  python tools/train.py CONFIG --cfg-options load_from=mae.pth default_hooks.checkpoint_fit.strict=False

  python tools/model_converters/convert.py --from omnimae --to vicmae vitb_pretrain.torch omnimae.pth
  python tools/train.py FINETUNE_CONFIG --cfg-options model.pretrained=omnimae.pth OPTIONS
  (OPTIONS are those of the model, which the first command prints.)
"""


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', metavar='IN', help='the checkpoint to read, .safetensors too')
    parser.add_argument(
        'output',
        metavar='OUT',
        help='the checkpoint to write; as safetensors if it ends in .safetensors',
    )
    for flag, dest, what in [
        ('--from', 'source_format', 'the format of IN'),
        (
            '--to',
            'target_format',
            'the format of OUT; one of the two is vicmae, or both: weights alone',
        ),
    ]:
        parser.add_argument(flag, dest=dest, required=True, choices=FORMATS, help=what)
    parser.add_argument('--report', metavar='FILE.json', help='also write what is printed as JSON')
    parser.add_argument(
        '--force', action='store_true', help='write over OUT and the report where they exist'
    )
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Converts a checkpoint."""
    args = parse_args()
    from vicmae.apis import convert_checkpoint

    conversion = convert_checkpoint(
        args.input,
        args.output,
        source_format=args.source_format,
        target_format=args.target_format,
        report=args.report,
        force=args.force,
    )
    print(conversion)
    print(f'{args.output}: {conversion.summary()}')
    if args.target_format == 'vicmae':
        if conversion.options:
            print(f'Options of its model: {model_options(conversion)}')
        if 'num_classes' in conversion.options:
            print(f'Evaluate it: python tools/test.py CONFIG {shlex.quote(args.output)}')
        else:
            print(f'Start from it: {training_command(args.output, conversion)}')


def model_options(conversion: 'Conversion') -> str:
    """Returns the options of a config with which the weights fit, for `--cfg-options`."""
    return ' '.join(
        shlex.quote(f'{key}={as_text(value)}') for key, value in conversion.options.items()
    )


def as_text(value: Any) -> str:
    """Writes a value as `--cfg-options` reads it, without spaces."""
    if isinstance(value, dict):
        return f'dict({",".join(f"{key}={as_text(item)}" for key, item in value.items())})'
    if isinstance(value, list):
        return f'[{",".join(map(as_text, value))}]'
    return str(value)


def training_command(checkpoint: str, conversion: 'Conversion') -> str:
    """Returns the command that trains from a checkpoint which may lack parts."""
    options = [f'load_from={shlex.quote(checkpoint)}']
    if conversion.missing:
        options.append('default_hooks.checkpoint_fit.strict=False')
    return f'python tools/train.py CONFIG --cfg-options {" ".join(options)}'


if __name__ == '__main__':
    run_tool(main)
