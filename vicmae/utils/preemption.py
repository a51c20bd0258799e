# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ending a run that was asked to: before training, and for good."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from vicmae.errors import Preempted

from .env_vars import PREEMPTED


def end_on_signals() -> None:
    """Ends this process politely at the signals that `PreemptionHook` waits for, until that does."""

    def end(number: int, frame: Any) -> None:
        mark_preempted()
        name = signal.Signals(number).name
        raise Preempted(
            f'{name}: ended outside of training. `--resume` goes on from what is written.'
        )

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, end)


def mark_preempted() -> None:
    """Tells the script that started this process, tools/launch.sh, that it was asked to end."""
    marker = os.environ.get(PREEMPTED)
    if marker:
        with suppress(OSError):
            Path(marker).touch()


def require_not_preempted() -> None:
    """Ends a process that torchrun starts again although the run was asked to end."""
    marker = os.environ.get(PREEMPTED)
    if (
        marker
        and os.path.exists(marker)
        and os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    ):
        raise Preempted('The run was asked to end, and is not started again.')
