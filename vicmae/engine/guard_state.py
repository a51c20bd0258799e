# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a run knows of its bad steps: in the message hub, so that checkpoints hold it."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_KEY = 'step_guard'


class RewindDue(Exception):
    """Ends a training step; its arguments are the checkpoint to go back to, and which iterations to pass over.

    These begin with the second argument, and end before the third.
    """


@dataclass
class GuardState:
    """Counts of bad steps, the same on all ranks. Iterations count from 0 here, as `runner.iter` does.

    Attributes:
        total: Bad steps of the run.
        in_a_row: Those since the last good step.
        since: The iteration in which the row began.
        record: Folder of the record of its first step.
        weights: File with the weights of the row, relative to a record; None where none has them.
        num_weights: Records with weights so far.
        checkpoint: The last one from before the row; None where there was none.
        rewinds: How often the run went back to a checkpoint.
        passed_over: Ranges of iterations, half-open, that train nothing.
    """

    total: int = 0
    in_a_row: int = 0
    since: int = 0
    record: str = ''
    weights: str | None = None
    num_weights: int = 0
    checkpoint: str | None = None
    rewinds: int = 0
    passed_over: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, runner: Any) -> 'GuardState':
        """That of a run."""
        saved = runner.message_hub.runtime_info.get(_KEY, {})
        return cls(**{f.name: saved[f.name] for f in fields(cls) if f.name in saved})

    def keep(self, runner: Any) -> None:
        """Makes it that of a run."""
        runner.message_hub.update_info(_KEY, asdict(self))

    def renumber(self, factor: float) -> None:
        """Takes iterations for others, so many times as many."""
        self.passed_over = [
            [math.floor(first * factor), math.ceil(end * factor)] for first, end in self.passed_over
        ]
        self.since = int(self.since * factor)

    def passes_over(self, iteration: int) -> bool:
        """Whether an iteration trains nothing."""
        return any(first <= iteration < end for first, end in self.passed_over)
