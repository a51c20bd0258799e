#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packs images or videos into tar shards with an index, made for being read in random order.

SOURCE is a folder, a list of files (`path` or `path label` a line), or shards. Interrupted, the same command
continues where it was. Files that can't be read are left out, and listed with the reason in OUT/bad_files.jsonl.
The exit status is 1 where none can be read.
"""

import argparse
import difflib
import re
import sys
from typing import Any, NoReturn

try:
    from vicmae.cli.common import run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')

EXAMPLES = """\
examples:
  python tools/dataset_converters/pack.py data/images data/packed/images --short-side 320
  python tools/dataset_converters/pack.py data/videos data/packed/videos --dry-run
  python tools/dataset_converters/pack.py data/videos data/packed/videos
  python tools/dataset_converters/pack.py data/videos data/packed/frames --video-as jpeg --fps 5
"""
# Name, type, metavar, help. What isn't given is left to the recipe, which also checks it.
SHORT_SIDE = (
    'shorter side, at most; 256 for videos, 0 to keep the size; without it images are copied'
)
RECIPE_OPTIONS: list[tuple[str, type, str, str]] = [
    ('short-side', int, 'PIXELS', SHORT_SIDE),
    ('quality', int, 'Q', 'of JPEGs, 1 to 95 (90)'),
    ('fps', float, 'FPS', 'of videos as jpeg, at most (5)'),
    ('gop', int, 'FRAMES', 'videos as mp4: one in so many is a key frame (12)'),
    ('crf', int, 'CRF', 'videos as mp4: lower is better and larger (23)'),
    ('preset', str, 'NAME', 'videos as mp4: preset of x264 (fast)'),
    ('tune', str, 'NAME', 'videos as mp4: fastdecode; none makes smaller files (fastdecode)'),
    ('reader', str, 'NAME', 'auto, decord, torchcodec or pyav (pyav; for copies auto)'),
]


class Parser(argparse.ArgumentParser):
    """Says which option may have been meant."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r'unrecognized arguments: (--[\w-]+)', message)
        near = difflib.get_close_matches(wrong[1], self._option_string_actions, 1) if wrong else []
        super().error(message + (f'. Did you mean {near[0]}?' if near else ''))


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(flag: str, text: str, **settings: Any) -> None:
        group.add_argument(flag, help=text, **settings)

    parser.add_argument('source', metavar='SOURCE', help='folder, list, .tar file or pattern')
    parser.add_argument('out', metavar='OUT', help='folder for the shards')
    group = parser.add_argument_group('what is packed')
    text = "folder that the paths in a list are relative to (the list's own)"
    add('--data-root', text, default='')
    add('--kind', 'where SOURCE has both', choices=['image', 'video'])
    text = 'each folder of images in SOURCE is a video at this rate'
    add('--source-fps', text, type=float, metavar='FPS')
    add('--limit', 'only so many files, for a try', type=int, metavar='N')

    group = parser.add_argument_group('how it is stored')
    text = 'H.264 made for reading single frames (the default), JPEG frames, or as they are'
    add('--video-as', text, choices=['mp4', 'jpeg', 'copy'])
    for name, kind, metavar, text in RECIPE_OPTIONS:
        add(f'--{name}', text, type=kind, metavar=metavar)
    text = 'a shard with so many is full (%(default)s)'
    add('--samples-per-shard', text, type=int, default=10_000, metavar='N')
    text = 'a shard of this size is full, such as 500M (%(default)s)'
    add('--max-shard-size', text, type=parse_size, default='1G', metavar='BYTES')
    text = 'random order that depends on this, for readers that go from front to back'
    add('--shuffle-seed', text, type=int, metavar='SEED')

    group = parser.add_argument_group('the run')
    add('--num-workers', 'processes (one per core)', type=int, metavar='N')
    text = 'a file that hangs for so long is bad (%(default)s)'
    add('--seconds', text, type=float, default=60, metavar='S')
    add('--fresh', 'remove what was packed to OUT before', action='store_true')
    text = 'pack a few files to nowhere, and say what all would take'
    add('--dry-run', text, action='store_true')
    return parser.parse_args()


def parse_size(text: str) -> int:
    """Reads a number of bytes such as 500M."""
    found = re.fullmatch(r'(\d+(?:\.\d+)?)([KMGT]?)B?', text.strip(), re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f'expected a size such as 500M or 1G, got {text!r}')
    return round(float(found[1]) * 1000 ** ' KMGT'.index(found[2].upper() or ' '))


def main() -> None:
    """Packs, or says what packing would take."""
    args = parse_args()
    from rich.console import Console

    from vicmae.data_tools.find_source import find_source
    from vicmae.data_tools.packing.pack import Packing
    from vicmae.data_tools.packing.progress import describe, pack_progress, summarize
    from vicmae.data_tools.packing.recoding import choose_recipe
    from vicmae.errors import DataError

    where = dict(data_root=args.data_root, source_fps=args.source_fps)
    source = find_source(args.source, args.kind, **where)
    names = [name.replace('-', '_') for name, *_ in RECIPE_OPTIONS]
    options = {name: getattr(args, name) for name in names}
    packing = Packing(
        source,
        choose_recipe(source.kind, args.video_as, **options),
        max_samples=args.samples_per_shard,
        max_bytes=args.max_shard_size,
        shuffle_seed=args.shuffle_seed,
        limit=args.limit,
        num_workers=args.num_workers,
        seconds=args.seconds,
    )
    if args.dry_run:
        print(describe(*packing.estimate(), source.kind))
        return
    with pack_progress(len(packing), Console(stderr=True, highlight=False)) as progress:
        tally = packing.run(args.out, fresh=args.fresh, report=progress)
    print(summarize(args.out, source.kind, tally))
    if not tally.num_samples:
        raise DataError(f'Nothing was packed: none of the {tally.num_files} files can be read.')


if __name__ == '__main__':
    run_tool(main, when_interrupted='The same command continues where it was.')
