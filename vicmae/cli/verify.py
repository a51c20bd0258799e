# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae verify`."""

import argparse
import sys

HELP = 'Check images and videos by the rules of training, and list the bad ones with the reason.'
WHEN_INTERRUPTED = 'The same command continues where it was.'
_EPILOG = """\
PATH is a file, a folder, or a list (.txt, .lst, .list, .csv) of `path` or `path label` lines. The report has a line of
JSON for each file: file, kind, ok, frames, width, height, error, and a note on a video that can be read in part.
Interrupted, the same command continues where it was.

exit status:
  1 if a file is bad or the check fails, else 0; with --list-good also 0 if a file is bad, since the list leaves it out

examples:
  vicmae verify data/images data/videos --out work_dirs/report.jsonl
  vicmae verify train.txt --data-root data/videos --out work_dirs/videos.jsonl --list-good good.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add('paths', nargs='+', metavar='PATH', help='file, folder or list')
    add('--out', required=True, metavar='FILE', help='the report, as JSON Lines')
    text = "folder that paths in lists are relative to (the list's own)"
    add('--data-root', default='', help=text)
    text = 'in folders, check files of this kind only; files named one by one or in lists are of this kind'
    add('--kind', choices=['image', 'video'], help=text)
    text = 'decode only the first, middle and last frame of a video'
    add('--quick', action='store_true', help=text)
    text = 'write a list of the files that are good as a whole, for `ann_file`'
    add('--list-good', default='', metavar='FILE', help=text)
    text = 'check all files again, instead of continuing the report'
    add('--fresh', action='store_true', help=text)
    add('--num-workers', type=int, metavar='N', help='processes (one per core)')
    text = 'a file that hangs for so long is bad (%(default)s)'
    add('--seconds', type=float, default=60, metavar='S', help=text)


def run(args: argparse.Namespace) -> None:
    """Checks."""
    from rich.console import Console

    from vicmae.data_tools.checking.verify import verify

    options = ('out', 'kind', 'data_root', 'quick', 'fresh', 'num_workers', 'seconds', 'list_good')
    console = Console(stderr=True, highlight=False)
    checked = verify(args.paths, console=console, **{name: getattr(args, name) for name in options})
    print(checked.text)
    if checked.num_bad and not args.list_good:
        sys.exit(1)
