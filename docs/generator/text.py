# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Markdown of generated pages."""

import re
from collections.abc import Iterable, Sequence

_ROLE = re.compile(r':\w+:`')
_WORD_WITH_STARS = re.compile(r'(?<!\\)([<>*_])')


def escape(text: str) -> str:
    """Text of a docstring as one line of Markdown: code stays, other characters lose their meaning."""
    # Docstrings of MMEngine are in reStructuredText.
    text = ' '.join(_ROLE.sub('`', text).replace('``', '`').split())
    parts = text.split('`')
    # Odd parts are code. A lone backquote leaves the number of parts even.
    if len(parts) % 2 == 0:
        parts = [text.replace('`', "'")]
    return '`'.join(
        part if index % 2 else _WORD_WITH_STARS.sub(r'\\\1', part)
        for index, part in enumerate(parts)
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column stays on one line."""
    lines = [head, ['---'] * len(head), *rows]
    text = '\n'.join(
        '| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines
    )
    return f'<div class="options" markdown>\n\n{text}\n\n</div>'
