# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Handles preemption outside of training steps."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from vicmae.errors import Preempted

from .env_vars import PREEMPTED


def end_on_signals() -> None:
    """Handles the signals of `PreemptionHook` until training starts."""

    def end(number: int, frame: Any) -> None:
        mark_preempted()
        name = signal.Signals(number).name
        raise Preempted(
            f'{name}: stopped before a training step. `--resume` continues from the last checkpoint, or starts from '
            'the beginning if there is none yet.'
        )

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, end)


def mark_preempted() -> None:
    """Reports a preemption to tools/launch.sh, which started this process."""
    if marker := os.environ.get(PREEMPTED):
        with suppress(OSError):
            Path(marker).touch()


def require_not_preempted() -> None:
    """Ends a process that torchrun restarted although the run was preempted."""
    marker = os.environ.get(PREEMPTED)
    is_restart = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    if is_restart and marker and os.path.exists(marker):
        raise Preempted('The run was preempted and is not restarted.')
