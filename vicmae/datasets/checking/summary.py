# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What came of a check: how many files are bad and why, and a list of the good ones."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from vicmae.errors import DataError

from ..sources.file_source import PathAndLabel
from ..sources.source import NO_LABEL
from .file_check import KINDS, SOURCES, Verdict

_MAX_REASONS = 20
# What differs between two files that are bad for the same reason: names, numbers, and what data begin with.
_PARTICULARS = re.compile(r"""(?<!\w)b?(['"]).*?\1|\[[\d, ]*\]|[-+]?\d[\d.]*""")


def summarize(verdicts: Iterable[Verdict]) -> str:
    """How many files are ok and bad, and the reasons with an example of each, the most frequent ones first."""
    counts: Counter[tuple[str, bool]] = Counter()
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for verdict in verdicts:
        counts[verdict.kind, verdict.ok] += 1
        if verdict.error:
            reason = _PARTICULARS.sub('', verdict.error.replace(verdict.file, ''))
            reasons[reason] += 1
            examples.setdefault(reason, verdict.error)
    lines = [
        f'{kind}s: {counts[kind, True]} ok, {counts[kind, False]} bad'
        for kind in KINDS
        if counts[kind, True] or counts[kind, False]
    ]
    for reason, count in reasons.most_common(_MAX_REASONS):
        lines.append(f'  {count} x {"such as: " if count > 1 else ""}{examples[reason]}')
    if len(reasons) > _MAX_REASONS:
        lines.append(f'  and {len(reasons) - _MAX_REASONS} reasons more')
    return '\n'.join(lines) or 'no images or videos found'


def write_good_list(path: str, verdicts: Iterable[Verdict], labels: Mapping[str, int]) -> str:
    """Writes the files that are ok as a list that `ann_file` takes, with absolute paths; says what it wrote.

    Where there are both images and videos, that is a list each, as a source takes one kind.

    Args:
        path: Of the list; of two, `_images` and `_videos` go before its extension.
        verdicts: Of all files.
        labels: Label of each file, -1 for none.
    """
    lines: dict[str, list[str]] = {kind: [] for kind in KINDS}
    left_out = 0
    for verdict in verdicts:
        if not verdict.ok:
            continue
        line = _list_line(os.path.abspath(verdict.file), labels[verdict.file], verdict.kind)
        if line is None:
            left_out += 1
        else:
            lines[verdict.kind].append(line)
    kinds = [kind for kind in KINDS if lines[kind]]
    said = []
    for kind in kinds:
        target = Path(path)
        if len(kinds) > 1:
            target = target.with_name(f'{target.stem}_{kind}s{target.suffix}')
        _write(target, lines[kind])
        said.append(f'{target}: {len(lines[kind])} {kind}s that are ok')
    if not kinds:
        said.append(f'{path} is not written: no file is ok')
    if left_out:
        said.append(
            f'{left_out} files that are ok are in no list: a source takes no file of such a name'
        )
    return '\n'.join(said)


def _list_line(path: str, label: int, kind: str) -> str | None:
    """A line of a list; None where a source would read something else from it."""
    line = path if label == NO_LABEL else f'{path} {label}'
    try:
        line.encode()
        read = PathAndLabel(SOURCES[kind].extensions)(line.strip())
    except ValueError:
        return None
    return line if read == dict(path=path, gt_label=label) and '\n' not in line else None


def _write(path: Path, lines: list[str]) -> None:
    """So that it is there whole or not at all."""
    unfinished = path.with_name(path.name + '.tmp')
    try:
        unfinished.write_text(''.join(line + '\n' for line in lines), encoding='utf-8')
        os.replace(unfinished, path)
    except OSError as error:
        raise DataError(f"Can't write the list {str(path)!r}: {error.strerror}.") from error
