# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae search`."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from . import common

HELP = 'Find images and moments of videos that look like others, in a file of features.'
_EPILOG = """\
QUERY is an image, a video, or the number of a row of FEATURES, from 0. Without --out, the command prints a table with
columns separated by tabs. Similarities are exact: FEATURES is compared as a whole, some rows after the other.

examples:
  vicmae search windows.parquet photo.jpg --out found.html
  vicmae search windows.parquet 120 --other-files --top 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog, parser.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add('features', metavar='FEATURES', help='file of `vicmae features`')
    add('queries', nargs='+', metavar='QUERY', help='image, video or number of a row')
    add('--top', type=int, default=10, metavar='N', help='rows to find (%(default)s)')
    add('--out', metavar='FILE.html', help='a page of pictures, instead of a table')
    text = "leave out rows of the query's own file"
    add('--other-files', action='store_true', help=text)
    text = 'weights for queries that are files (those that made the features)'
    add('--checkpoint', help=text)
    add('--config', help='path or name of the config (the one that the checkpoint stores)')
    add('--device', help='such as cpu or cuda:1 (a GPU if there is one)')
    text = 'let faiss compute the similarities, with all features in memory'
    add('--faiss', action='store_true', help=text)
    common.add_trust_option(parser)


def run(args: argparse.Namespace) -> None:
    """Searches."""
    if args.out and not args.out.lower().endswith(('.html', '.htm')):
        args.parser.error(f'--out is a page, FILE.html, got {args.out}')
    from vicmae.data_tools.features.files import open_features
    from vicmae.data_tools.features.search import found_text, search
    from vicmae.data_tools.features.search_page import render_found
    from vicmae.utils.files import require_folder
    from vicmae.visualization.page import write_page

    with redirect_stdout(sys.stderr):  # of logs: the table is for scripts
        found = search(
            args.features,
            args.queries,
            top=args.top,
            other_files=args.other_files,
            checkpoint=args.checkpoint,
            config=args.config,
            device=args.device,
            with_faiss=args.faiss,
        )
    if not args.out:
        common.end_when_output_is_closed()
        print('\n'.join(found_text(found)))
        return
    path = Path(args.out)
    require_folder(path.parent, '--out')
    num_rows = open_features(args.features).num_rows
    print(write_page(render_found(found, features=args.features, num_rows=num_rows), path))
