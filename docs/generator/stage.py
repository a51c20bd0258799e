# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Copies the pages of the site, and turns links that leave docs/ into links that work on the site."""

import os
import re
import shutil
from pathlib import Path

# Pages outside docs/ that the site has too, by their place in the site.
EXTRA_PAGES = {
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
}
# Files outside docs/ that a page may link to; the site shows their text.
_LANGUAGES = {'.py': 'python', '.sh': 'bash', '.csv': 'text', '.yml': 'yaml', '.md': 'markdown'}
_LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)')
_FENCE = re.compile(r'(^ *(`{3,}).*?^ *\2 *$)', re.MULTILINE | re.DOTALL)
_BAD_URL = re.compile(r'[\s<>"{}|\\^`]')


def stage_pages(root: Path, stage: Path) -> None:
    """Copies docs/ and the READMEs of configs/ and projects/ to `stage`."""
    places = find_pages(root)
    pages = [path for path in places if path.suffix == '.md']
    # Adds the files that pages link to.
    texts = {path: rewrite_links(path, root=root, places=places) for path in pages}
    for source, place in places.items():
        target = stage / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source in texts:
            target.write_text(texts[source], encoding='utf-8')
        elif place.endswith('.md'):
            target.write_text(_show_file(source, root), encoding='utf-8')
        else:
            shutil.copyfile(source, target)


def _show_file(path: Path, root: Path) -> str:
    """A page with the text of a file. The search leaves it out."""
    text = path.read_text(encoding='utf-8').rstrip()
    language = _LANGUAGES[path.suffix]
    head = f'---\nsearch:\n  exclude: true\n---\n\n# {path.name}\n\n`{path.relative_to(root)}`'
    return f'{head}\n\n````{language}\n{text}\n````\n'


def find_pages(root: Path) -> dict[Path, str]:
    """The files of the site, each with its place in it."""
    docs = root / 'docs'
    places = {
        path: str(path.relative_to(docs))
        for path in sorted(docs.rglob('*'))
        if path.is_file() and 'generator' not in path.parts and path.suffix != '.py'
    }
    for readme in sorted([*root.glob('configs/**/README.md'), *root.glob('projects/*/README.md')]):
        places[readme] = str(readme.relative_to(root).with_name('index.md'))
    for name, place in EXTRA_PAGES.items():
        places[root / name] = place
    return places


def rewrite_links(page: Path, *, root: Path, places: dict[Path, str]) -> str:
    """The text of a page with links for the site. Files that it links to are added to `places`."""

    def rewrite(match: re.Match[str]) -> str:
        image, label, link = match.groups()
        if '://' in link:
            if _BAD_URL.search(link):
                raise ValueError(f'{page.relative_to(root)}: malformed link {link!r}.')
            return match[0]
        name, hash_, anchor = link.partition('#')
        if not name or link.startswith('mailto:'):
            return match[0]
        target = Path(os.path.normpath(page.parent / name))
        if target not in places:
            if target.is_relative_to(root / 'docs') or not target.is_file():
                return match[0]  # generated later, or wrong: Zensical checks it
            suffix = '.md' if target.suffix in _LANGUAGES else ''
            places[target] = f'sources/{target.relative_to(root)}{suffix}'
        here = (root / 'site' / places[page]).parent
        relative = os.path.relpath(root / 'site' / places[target], here)
        return f'{image}[{label}]({relative}{hash_}{anchor})'

    parts = _FENCE.split(page.read_text(encoding='utf-8'))
    # Of the two groups, one is the block of code, which stays, and one its fence, which is in it.
    return ''.join(
        _LINK.sub(rewrite, part) if index % 3 == 0 else part
        for index, part in enumerate(parts)
        if index % 3 != 2
    )
