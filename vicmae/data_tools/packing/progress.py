# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a user sees of a packing: how far it is, and what came of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn

from vicmae.utils.progress import live_bar

from ..checking.file_check import Verdict
from ..checking.summary import summarize as summarize_verdicts
from .folder import BAD_FILES, Tally
from .pack import Estimate


class PackProgress:
    """Says how far a packing is after each file: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int, console: Console, update: Callable[..., None]) -> None:
        self._total = total
        self._console = console
        self._update = update
        self._first: int | None = None
        self._begun = self._shown = console.get_time()
        self._pause = 0.2 if console.is_terminal else 30.0

    def __call__(self, tally: Tally) -> None:
        now = self._console.get_time()
        if self._first is None:  # what an earlier run packed says nothing about the rate
            self._first, self._begun = tally.num_files, now
        elif now - self._shown < self._pause and tally.num_files < self._total:
            return
        self._shown = now
        text = self._text(tally, now)
        if self._console.is_terminal:
            self._update(completed=tally.num_files, text=text)
        else:
            self._console.print(f'packing: {text}')

    def _text(self, tally: Tally, now: float) -> str:
        words = [f'{tally.num_files}/{self._total} files']
        packed_now = tally.num_files - (self._first or 0)
        if packed_now:
            rate = packed_now / max(now - self._begun, 1e-3)
            left = timedelta(seconds=round((self._total - tally.num_files) / rate))
            words += [f'{rate:.1f} files/s', f'{left} left']
        if tally.num_bad:
            words.append(f'{tally.num_bad} bad')
        if tally.num_files == self._total:
            words.append('checking the shards')
        return ', '.join(words)


@contextmanager
def pack_progress(total: int, console: Console) -> Iterator[PackProgress]:
    """Shows the progress of a packing."""
    columns = (BarColumn(), '{task.fields[text]}')
    with live_bar(console, *columns, total=total, text='packing') as update:
        yield PackProgress(total, console, update)


def summarize(folder: str | Path, kind: str, tally: Tally) -> str:
    """What came of a packing, and how it is used."""
    lines = [
        f'{folder}: {tally.num_samples} of {tally.num_files} {kind}s, {tally.num_shards} shard(s), '
        f'{decimal(tally.bytes_in)} as {decimal(tally.bytes_out)}, '
        f'in {timedelta(seconds=round(tally.seconds))}'
    ]
    if kind == 'video' and tally.num_samples:
        lines.append(f'frames per video: {tally.num_frames / tally.num_samples:.1f}')
        if 0 < tally.num_key_frames < tally.num_frames:
            lines[-1] += (
                f'; one key frame for {tally.num_frames / tally.num_key_frames:.1f} of them'
            )
    if tally.num_bad:
        bad_files = Path(folder, BAD_FILES)
        lines.append(f'{tally.num_bad} left out, see {bad_files}:')
        lines += summarize_verdicts(_verdicts(bad_files)).splitlines()[1:]
    if tally.num_samples:
        source = f'train_dataloader.dataset.sources.{kind}s'
        lines += [
            'Train on them:',
            f'  python tools/train.py CONFIG --cfg-options {source}.type={kind.capitalize()}Shards '
            f'{source}.shards={folder}',
        ]
    return '\n'.join(lines)


def _verdicts(bad_files: Path) -> Iterator[Verdict]:
    with bad_files.open('rb') as file:
        for line in file:
            yield Verdict(**json.loads(line))


def describe(estimate: Estimate, kind: str) -> str:
    """What packing would take."""
    text = (
        f'{estimate.num_files} {kind}s, {decimal(estimate.bytes_in)}, would become about '
        f'{decimal(estimate.bytes_out)} in {timedelta(seconds=round(estimate.seconds))} '
        f'({estimate.num_tried} were tried'
    )
    return text + (f', {estimate.num_bad} of them bad)' if estimate.num_bad else ')')
