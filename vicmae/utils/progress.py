# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How far a tool is, where somebody looks at it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

_SECONDS_PER_PICTURE = 0.1


@contextmanager
def share_bar(what: str, console: Console) -> Iterator[Callable[[float], None]]:
    """Draws a bar that goes away again; nothing elsewhere than on a terminal.

    Args:
        what: What is being done.
        console: Where it is drawn.

    Yields:
        A function to call with the share that is done, from 0 to 1.
    """
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    # Drawn when there is news: a thread that draws could hold a lock at the moment when a process is forked.
    bar = Progress(
        *columns,
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task('', total=1.0)
        drawn = 0.0

        def report(share: float) -> None:
            nonlocal drawn
            bar.update(task, completed=share)
            if time.monotonic() - drawn > _SECONDS_PER_PICTURE:
                drawn = time.monotonic()
                bar.refresh()

        yield report
