# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Builds the site: `make docs`, or `python -m docs.generator`.

Copies docs/ to build/docs, adds the generated pages of the reference, and lets Zensical make site/ of that. Any
warning ends it: a missing page or anchor, an option without a description.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .api import api_pages
from .commands import command_page
from .options import UndescribedOptionsError, option_pages
from .stage import stage_pages

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / 'build' / 'docs'


def main() -> None:
    """Builds site/ from docs/."""
    shutil.rmtree(STAGE, ignore_errors=True)
    stage_pages(ROOT, STAGE)
    try:
        pages = {**api_pages(), **option_pages(), 'reference/commands.md': command_page()}
    except UndescribedOptionsError as error:
        sys.exit(f'error: {error}')
    for name, text in pages.items():
        path = STAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
    if lost := _pages_outside_nav():
        sys.exit(f'error: Pages that `nav` of mkdocs.yml lacks: {", ".join(lost)}')
    # Pages that were deleted since would stay.
    shutil.rmtree(ROOT / 'site', ignore_errors=True)
    sys.exit(_build())


def _pages_outside_nav() -> list[str]:
    settings = yaml.safe_load((ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))
    listed = set(_leaves(settings['nav']))
    pages = [path.relative_to(STAGE).as_posix() for path in STAGE.rglob('*.md')]
    return sorted(name for name in set(pages) - listed if not name.startswith('sources/'))


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(item)


def _build() -> int:
    command = [sys.executable, '-m', 'zensical', 'build', '--strict', '--clean']
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, end='')
    # Strict mode doesn't cover docstrings.
    if 'griffe: ' in done.stdout or 'WARNING' in done.stdout:
        print('error: Warnings of docstrings are errors, too.')
        return 1
    return done.returncode


if __name__ == '__main__':
    main()
