# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Shows the progress of packing, and summarizes its result."""

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


@contextmanager
def pack_progress(total: int, console: Console) -> Iterator[Callable[[Tally], None]]:
    """Shows how far a packing is, by a function to call after each file: a bar, or lines without a terminal."""
    pause = 0.2 if console.is_terminal else 30.0
    first, start = None, console.get_time()
    shown = start

    def report(tally: Tally) -> None:
        nonlocal first, start, shown
        now, done = console.get_time(), tally.num_files
        if first is None:  # what an earlier run packed says nothing about the rate
            first, start = done, now
        elif now - shown < pause and done < total:
            return
        shown = now
        words = [f'{done}/{total} files']
        if done > first:
            rate = (done - first) / max(now - start, 1e-3)
            left = timedelta(seconds=round((total - done) / rate))
            words += [f'{rate:.1f} files/s', f'{left} left']
        words += [f'{tally.num_bad} bad'] if tally.num_bad else []
        words += ['checking the shards'] if done == total else []
        if console.is_terminal:
            update(completed=done, text=', '.join(words))
        else:
            console.print(f'packing: {", ".join(words)}')

    columns = (BarColumn(), '{task.fields[text]}')
    with live_bar(console, *columns, total=total, text='packing') as update:
        yield report


def summarize(folder: str | Path, kind: str, tally: Tally) -> str:
    """Summarizes the result of packing, and how to train on it."""
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
            f'  vicmae train CONFIG --cfg-options {source}.type={kind.capitalize()}Shards '
            f'{source}.shards={folder}',
        ]
    return '\n'.join(lines)


def _verdicts(bad_files: Path) -> Iterator[Verdict]:
    with bad_files.open('rb') as file:
        for line in file:
            yield Verdict(**json.loads(line))


def describe(estimate: Tally, num_tried: int, num_bad: int, kind: str) -> str:
    """Describes the time and space that packing would take."""
    text = (
        f'{estimate.num_files} {kind}s, {decimal(estimate.bytes_in)}, would become about '
        f'{decimal(estimate.bytes_out)} in {timedelta(seconds=round(estimate.seconds))} ({num_tried} were tried'
    )
    return text + (f', {num_bad} of them bad)' if num_bad else ')')
