# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Progress bars of commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TimeElapsedColumn

_SECONDS_PER_PICTURE = 0.1


@contextmanager
def live_bar(
    console: Console,
    *columns: str | ProgressColumn,
    total: float,
    transient: bool = False,
    shown: bool | None = None,
    **fields: Any,
) -> Iterator[Callable[..., None]]:
    """Draws a bar, and yields a function that updates it: `completed`, `advance` or fields, by name.

    Args:
        console: Where it is drawn.
        columns: Columns of rich; a text may name fields, `{task.fields[NAME]}`.
        total: Value of `completed` at the end.
        transient: Whether the bar is removed at the end.
        shown: Whether it is drawn; by default only on a terminal.
        fields: Initial values of the fields.
    """
    shown = console.is_terminal if shown is None else shown
    # Without a thread that refreshes: it could hold a lock when a process is forked.
    bar = Progress(
        *columns, console=console, auto_refresh=False, transient=transient, disable=not shown
    )
    with bar:
        task = bar.add_task('', total=total, **fields)
        drawn = 0.0

        def update(**changes: Any) -> None:
            nonlocal drawn
            bar.update(task, **changes)
            if bar.get_time() - drawn > _SECONDS_PER_PICTURE:
                drawn = bar.get_time()
                bar.refresh()

        yield update


@contextmanager
def share_bar(what: str, console: Console) -> Iterator[Callable[[float], None]]:
    """Draws a transient bar on a terminal, and yields a function that sets the completed share, 0 to 1."""
    columns = (what, BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with live_bar(console, *columns, total=1.0, transient=True) as update:
        yield lambda share: update(completed=share)
