#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws what a pretrained model makes of images and videos: input, what the encoder sees, output."""

import argparse
import sys
from pathlib import Path

try:
    from vicmae.cli.common import (
        add_config_argument,
        add_config_options,
        add_trust_option,
        run_tool,
    )
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_argument(parser)
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument(
        'files',
        nargs='+',
        help='images and videos; of a video the middle frame is drawn, or a clip if the model encodes clips',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('reconstructions.png'), help='the picture to write'
    )
    parser.add_argument('--columns', type=int, default=3, help='samples side by side')
    parser.add_argument(
        '--zoom', type=int, help='pixels drawn for each pixel of the input (more for small inputs)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the masks')
    parser.add_argument('--device', default='cpu', help='where the model runs')
    add_config_options(parser)
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    """Draws the picture."""
    args = parse_args()
    import torch
    from PIL import Image

    from vicmae.apis import load_clips, load_config, load_model
    from vicmae.errors import ConfigError
    from vicmae.visualization.reconstruction import draw_reconstructions, save_grid

    if args.out.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(
            f'`--out` must be a picture, such as a .png or .jpg, got {str(args.out)!r}.'
        )
    cfg = load_config(args.config, args.cfg_options)
    model = load_model(cfg, args.checkpoint, device=args.device)
    clips = load_clips(args.files, model.backbone.img_size, num_frames=model.backbone.num_frames)
    lengths = {len(clip) for clip in clips}
    if len(lengths) > 1:
        raise ConfigError(
            'The model encodes clips, of which a row of frames is drawn. Draw images and videos in two calls.'
        )
    frames = torch.cat(clips) if lengths == {1} else torch.stack(clips)
    drawn = draw_reconstructions(model, frames, seed=args.seed)
    columns = args.columns if lengths == {1} else 1
    save_grid(drawn, args.out, columns=columns, zoom=args.zoom)
    print(args.out)


if __name__ == '__main__':
    run_tool(main)
