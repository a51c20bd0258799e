# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae export`."""

import argparse

from . import common

HELP = 'Write an encoder for timm, transformers, mmpretrain, ONNX and others.'
# Written out: `vicmae.exchange.TARGETS` takes seconds to import.
TARGETS = [
    'timm', 'hf-vit', 'hf-vitmae', 'hf-videomae', 'mmpretrain', 'onnx', 'torch-export', 'safetensors',
    'vicmae-official',
]  # fmt: skip
_EPILOG = """\
examples:
  vicmae export work_dirs/demo/epoch_16.pth --to timm --out exports/timm
  vicmae verify-export exports/timm
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add('checkpoint', help='path of the checkpoint')
    add('--config', help='path or name of the config (the one that the checkpoint stores)')
    add('--to', required=True, choices=TARGETS, help='library or format')
    add(
        '--out',
        required=True,
        metavar='DIR',
        help='folder to write; it appears whole or not at all',
    )
    text = 'pixels of a side: position embeddings are interpolated (those of the config)'
    add('--image-size', type=int, metavar='N', help=text)
    text = 'type of the stored tensors (%(default)s)'
    add('--dtype', choices=['float32', 'float16', 'bfloat16'], default='float32', help=text)
    add('--licence', help='licence of the weights, for the model card')
    add('--force', action='store_true', help='replace an export in DIR')
    common.add_config_options(parser)
    common.add_trust_option(parser)


def run(args: argparse.Namespace) -> None:
    """Exports."""
    from vicmae.apis import load_config, load_model
    from vicmae.checkpoints.read import load_checkpoint_file
    from vicmae.config.stored import read_stored_config
    from vicmae.exchange import export_model

    options = dict(args.cfg_options)
    if args.image_size is not None:
        # In a stored config, all parts have the size already.
        options['image_size' if args.config else 'model.backbone.img_size'] = args.image_size
    if args.config:
        cfg = load_config(args.config, options)
    else:
        content = load_checkpoint_file(args.checkpoint)
        cfg = read_stored_config(content, repr(args.checkpoint))
        cfg.merge_from_dict(options)
    model = load_model(cfg, args.checkpoint)
    manifest = export_model(
        model,
        cfg,
        args.to,
        args.out,
        checkpoint=args.checkpoint,
        dtype=args.dtype,
        licence=args.licence,
        force=args.force,
    )
    tensors = len(manifest['tensors'])
    print(f'{args.out}: for {args.to}, {f"{tensors} tensors" if tensors else "a graph"}')
    print(f'How to open it: {args.out}/README.md. Compare it: vicmae verify-export {args.out}')
