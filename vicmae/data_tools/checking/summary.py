# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Summarizes a check: how many files are bad and why, and a list of the good ones."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vicmae.datasets.sources.file_source import PathAndLabel
from vicmae.errors import DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.files import whole_file

from .file_check import KINDS, SOURCES, Verdict

_MAX_REASONS = 20
# What differs between two files that are bad for the same reason: names, numbers, and what data begin with.
_PARTICULARS = re.compile(r"""(?<!\w)b?(['"]).*?\1|\[[\d, ]*\]|[-+]?\d[\d.]*""")


def summarize(verdicts: Iterable[Verdict]) -> str:
    """Counts good and bad files, and the reasons with an example of each, the most frequent first."""
    counts: Counter[tuple[str, bool]] = Counter()
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    num_noted, noted = 0, ''
    for verdict in verdicts:
        counts[verdict.kind, verdict.ok] += 1
        if verdict.note:
            num_noted += 1
            noted = noted or f'{verdict.file!r}: {verdict.note}'
        if verdict.error:
            reason = _PARTICULARS.sub('', verdict.error.replace(verdict.file, ''))
            reasons[reason] += 1
            examples.setdefault(reason, verdict.error)
    lines = [
        f'{kind}s: {counts[kind, True]} ok, {counts[kind, False]} bad'
        for kind in KINDS
        if counts[kind, True] or counts[kind, False]
    ]
    if num_noted:
        lines.append(f'  {num_noted} of those that are ok can be read in part, such as {noted}')
    for reason, count in reasons.most_common(_MAX_REASONS):
        lines.append(f'  {count} x {"such as: " if count > 1 else ""}{examples[reason]}')
    if len(reasons) > _MAX_REASONS:
        lines.append(f'  and {len(reasons) - _MAX_REASONS} reasons more')
    return '\n'.join(lines) or 'no images or videos found'


def write_good_list(path: str, verdicts: Iterable[Verdict], labels: Mapping[str, int | str]) -> str:
    """Writes the files that are ok as a list that `ann_file` takes, with absolute paths; says what it wrote.

    Where there are both images and videos, that is a list each, with `_images` and `_videos` before its extension, as a
    source takes one kind. Videos of which a part can't be decoded are left out.
    """
    lines: dict[str, list[str]] = {kind: [] for kind in KINDS}
    num_in_part, odd_names = 0, []
    for verdict in verdicts:
        if not verdict.ok:
            continue
        if verdict.note:
            num_in_part += 1
            continue
        line = _list_line(os.path.abspath(verdict.file), labels[verdict.file], verdict.kind)
        if line is None:
            odd_names.append(verdict)
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
    if num_in_part:
        said.append(f'{num_in_part} that can be read in part are in no list')
    if odd_names:
        said.append(_describe_odd_names(odd_names))
    return '\n'.join(said)


def _list_line(path: str, label: int | str, kind: str) -> str | None:
    """Returns a line of a list; None if a source would read something else from it."""
    line = path if label == NO_LABEL else f'{path} {label}'
    try:
        line.encode()
        read = PathAndLabel(SOURCES[kind].extensions)(line.strip())
    except ValueError:
        return None
    return line if read == dict(path=path, gt_label=label) and '\n' not in line else None


def _describe_odd_names(verdicts: Sequence[Verdict]) -> str:
    first, count = verdicts[0], len(verdicts)
    files = '1 file that is ok is' if count == 1 else f'{count} files that are ok are'
    return f'{files} in no list, such as {first.file!r}: {_reason_against(first)}'


def _reason_against(verdict: Verdict) -> str:
    """Explains why a line of a list can't hold the name of a file."""
    if '\n' in verdict.file:
        return "a line of a list can't hold a newline"
    try:
        verdict.file.encode()
    except UnicodeEncodeError:
        return 'a list is UTF-8 text, and this name is none'
    if not verdict.file.lower().endswith(SOURCES[verdict.kind].extensions):
        extensions = ' '.join(SOURCES[verdict.kind].extensions)
        return f'a source of {verdict.kind}s takes names that end in {extensions}'
    return 'a source would read another name from its line'


def _write(path: Path, lines: list[str]) -> None:
    try:
        with whole_file(path) as file:
            file.writelines(f'{line}\n'.encode() for line in lines)
    except OSError as error:
        raise DataError(f"Can't write the list {str(path)!r}: {error.strerror}.") from error
