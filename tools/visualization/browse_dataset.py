#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes a page of what a model really gets: views, crops and masks of images and videos, and frame gaps."""

import argparse
import shlex
import sys
from pathlib import Path

try:
    from vicmae.cli.common import add_config_argument, add_config_options, run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_argument(parser)
    parser.add_argument('--number', type=int, default=32, help='samples to show (%(default)s)')
    parser.add_argument(
        '--out', type=Path, help='folder of the page (work_dirs/CONFIG_NAME/browse)'
    )
    parser.add_argument('--epoch', type=int, default=0, help='epoch to look at (%(default)s)')
    parser.add_argument('--seed', type=int, help="seed of the run (the config's)")
    parser.add_argument(
        '--gaps', action='store_true', help='print a histogram of the frame gaps, and nothing else'
    )
    add_config_options(parser)
    args = parser.parse_args()
    if args.number < 1:
        parser.error(f'--number must be at least 1, got {args.number}')
    return args


def main() -> None:
    """Writes the page, or prints the histogram."""
    args = parse_args()
    from rich.console import Console

    from vicmae.apis import load_config
    from vicmae.data_tools.browse import browse, gaps_of_sources
    from vicmae.data_tools.browse_page import describe_sizes, gap_text, render_browsed
    from vicmae.errors import ConfigError
    from vicmae.utils.files import require_folder
    from vicmae.utils.progress import share_bar
    from vicmae.visualization.page import write_page

    cfg = load_config(args.config, args.cfg_options)
    if args.seed is not None:
        cfg.setdefault('randomness', {})['seed'] = args.seed
    if args.gaps:
        drawn = gaps_of_sources(cfg)
        if not drawn:
            raise ConfigError(f'{args.config!r} has no source of videos: there are no gaps.')
        print('\n\n'.join(gap_text(name, gaps) for name, gaps in drawn.items()))
        return
    name = Path(args.config).stem
    out = args.out or Path('work_dirs', name, 'browse')
    require_folder(out, '--out')
    with share_bar('loading', Console(stderr=True)) as report:
        shown = browse(cfg, number=args.number, epoch=args.epoch, report=report)
    facts = {'config': args.config, 'command': shlex.join(['python', *sys.argv])}
    sizes = describe_sizes(shown, cfg)
    page = render_browsed(shown, config=name, epoch=args.epoch, facts=facts, sizes=sizes)
    print(write_page(page, out / 'index.html'))


if __name__ == '__main__':
    run_tool(main)
