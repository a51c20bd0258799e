# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks files before training does, over any number of interruptions."""

import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from vicmae.datasets.sources.file_source import PathAndLabel
from vicmae.datasets.sources.found_files import walk
from vicmae.datasets.sources.list_file import ListRows
from vicmae.errors import ConfigError, DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.isolated_pool import be_one_of_many, run_isolated
from vicmae.utils.progress import live_bar

from .check_list import CheckReport
from .file_check import KINDS, SOURCES, FileCheck, Verdict, kind_by_extension
from .summary import summarize, write_good_list

LISTS = ('.txt', '.lst', '.list', '.csv')


# ------------------------------------------------------------------------- what there is to check
@dataclass
class Wanted:
    """Files to check.

    Args:
        labels: Number or name of the class of each file, by its path; -1 for none.
        passed_over: How many files in folders are of no kind that is wanted, by their extension.
    """

    labels: dict[str, int | str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)


def find_files(paths: Iterable[str], *, kind: str | None = None, data_root: str = '') -> Wanted:
    """Finds the files to check, each once.

    Args:
        paths: Files, folders, of which all files below count that images or videos have the extension of, and lists
            (`LISTS`) of `path` or `path label` lines. What is named itself, or in a list, counts in any case.
        kind: 'image' or 'video': takes files of this kind alone from folders.
        data_root: Folder that the paths in lists are relative to; each list's own without it.
    """
    wanted = Wanted()
    for path in paths:
        if os.path.isdir(path):
            _add_folder(wanted, path, kind)
        elif not os.path.exists(path):
            raise DataError(
                f'There is no file or folder {path!r}. Paths are relative to where the command is run.'
            )
        elif path.lower().endswith(LISTS):
            _add_list(wanted, path, data_root or os.path.dirname(path))
        else:
            wanted.labels.setdefault(path, NO_LABEL)
    return wanted


def _add_folder(wanted: Wanted, root: str, kind: str | None) -> None:
    for folder, names in walk(root):
        for name in names:
            if kind_by_extension(name) in ([kind] if kind else KINDS):
                wanted.labels.setdefault(os.path.join(root, folder, name), NO_LABEL)
            else:
                wanted.passed_over[os.path.splitext(name)[1].lower() or 'no extension'] += 1


def _add_list(wanted: Wanted, path: str, root: str) -> None:
    rows = ListRows(path, _parse_any)
    for number in range(len(rows)):
        sample = rows[number]
        wanted.labels.setdefault(os.path.join(root, sample['path']), sample['gt_label'])


def _parse_any(line: str) -> dict[str, Any]:
    """Reads a line `path` or `path label`, also of a file that is neither an image nor a video by its extension."""
    try:
        return PathAndLabel(tuple(e for source in SOURCES.values() for e in source.extensions))(
            line
        )
    except ValueError:
        pass
    name, _, last = line.rpartition(' ')
    if name and last.isdecimal():
        return dict(path=name.strip(), gt_label=int(last))
    return dict(path=line, gt_label=NO_LABEL)


# ------------------------------------------------------------------------- checking
class Checked(NamedTuple):
    """The result of a check: a text for people, and the number of bad files."""

    text: str
    num_bad: int


def verify(
    paths: Iterable[str],
    out: str,
    *,
    kind: str | None = None,
    data_root: str = '',
    quick: bool = False,
    fresh: bool = False,
    num_workers: int | None = None,
    seconds: float = 60.0,
    list_good: str = '',
    console: Console | None = None,
) -> Checked:
    """Checks files by the rules of training, each in isolation.

    Args:
        paths: Files, folders and lists; see `find_files`.
        out: Report to write or continue: what it has a verdict on isn't checked again, unless the file changed
            since. What was checked `quick` and what wasn't don't go into one report.
        kind: 'image' or 'video', as which files are read. None goes by their extensions.
        data_root: Folder that the paths in lists are relative to; each list's own without it.
        quick: Whether to decode only three frames of a video.
        fresh: Whether to start the report over.
        num_workers: Processes that read; one per core if left out.
        seconds: How long a file may take to be opened, or a part of it to be decoded.
        list_good: List to write of the files that are ok, in the order of the report.
        console: Where to show the progress, with a bar if that is a terminal.
    """
    if num_workers is not None and num_workers < 1:
        raise ConfigError(f'`num_workers` must be at least 1, got {num_workers}.')
    if not seconds > 0:
        raise ConfigError(f'`seconds` must be more than 0, got {seconds}.')
    console = console or Console(quiet=True)
    check = FileCheck(kind, quick)
    wanted = find_files(paths, kind=kind, data_root=data_root)

    asked = {os.path.abspath(file): file for file in wanted.labels}

    with CheckReport(out, fresh=fresh) as report:
        answers = Answers(report, asked, check)
        files = [file for path, file in asked.items() if path not in answers]
        known = f'; of {len(answers)} others the report has a verdict already' if answers else ''
        console.print(f'checking {len(files)} files{known}')
        verdicts = check_files(files, check, num_workers=num_workers, seconds=seconds)
        columns = ('checking', BarColumn(), MofNCompleteColumn(), '{task.fields[bad]} bad')
        bar = live_bar(console, *columns, TimeRemainingColumn(), total=len(files), bad=0)
        num_bad = 0
        with closing(verdicts), bar as update:
            for verdict in verdicts:
                answers.add(verdict)
                num_bad += not verdict.ok
                update(advance=1, bad=num_bad)
        said = [summarize(answers)]
        num_bad = sum(not verdict.ok for verdict in answers)
        if list_good:
            said.append(write_good_list(list_good, answers, wanted.labels))
    said.append(_passed_over(wanted))
    return Checked('\n'.join(filter(None, said)), num_bad)


class Answers:
    """The verdicts of a report that are still valid for the files of this check.

    A report may have other files, and files that were read as another kind or changed since.
    """

    def __init__(self, report: CheckReport, asked: Mapping[str, str], check: FileCheck) -> None:
        self._report = report
        self._asked = asked
        self._lines: dict[str, int] = {}  # number of the line that holds, by absolute path
        self._num_lines = 0
        for verdict in report:
            if verdict.quick not in (None, check.quick):
                raise DataError(
                    f'The report {report.path!r} was made {"with" if verdict.quick else "without"} --quick, and this '
                    f'check is {"with" if check.quick else "without"} it. Give another file, or start it over with '
                    '--fresh.'
                )
            path = os.path.abspath(verdict.file)
            is_asked = path in asked and check.kind_of(path) in (None, verdict.kind)
            if is_asked and (verdict.size, verdict.mtime) == stamp_of(path):
                self._lines[path] = self._num_lines
            self._num_lines += 1

    def add(self, verdict: Verdict) -> None:
        """Adds a verdict to the report."""
        self._report.add(verdict)
        self._lines[os.path.abspath(verdict.file)] = self._num_lines
        self._num_lines += 1

    def __contains__(self, path: str) -> bool:
        return path in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Verdict]:
        for number, verdict in enumerate(self._report):
            path = os.path.abspath(verdict.file)
            if self._lines.get(path) == number:
                yield verdict._replace(file=self._asked[path])


def stamp_of(path: str) -> tuple[int | None, float | None]:
    """Returns size and time of change of a file, by which changed files are found."""
    try:
        found = os.stat(path)
    except OSError:
        return None, None
    return found.st_size, found.st_mtime


def check_files(
    files: Iterable[str], check: FileCheck, *, num_workers: int | None = None, seconds: float = 60.0
) -> Generator[Verdict, None, None]:
    """Checks files in processes, so that one which crashes or hangs its decoder costs no other; in any order."""
    outcomes = run_isolated(
        partial(_check_alone, check),
        files,
        num_workers=num_workers or len(os.sched_getaffinity(0)),
        seconds=seconds,
    )
    with closing(outcomes):
        for outcome in outcomes:
            path, verdict = outcome.item, outcome.value
            kind = check.kind_of(path) or KINDS[0]
            error = f"Can't read {path!r}: {outcome.error}."
            size, mtime = stamp_of(path)
            bad = Verdict(
                path, kind, ok=False, error=error, size=size, mtime=mtime, quick=check.quick
            )
            yield verdict or bad


def _check_alone(check: FileCheck, path: str) -> Verdict:
    """Checks a file in a separate process."""
    be_one_of_many()
    size, mtime = stamp_of(path)
    return check(path)._replace(size=size, mtime=mtime, quick=check.quick)


# ------------------------------------------------------------------------- what is said
def _passed_over(wanted: Wanted) -> str:
    count = sum(wanted.passed_over.values())
    if not count:
        return ''
    extensions = ', '.join(f'{number} {name}' for name, number in wanted.passed_over.most_common(5))
    return f'{count} other files in folders were passed over: {extensions}'
