# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a run knows of its bad steps: in the message hub, hence in checkpoints and known after a resume."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

_KEY = 'step_guard'


@dataclass
class GuardState:
    """Counts of bad steps, the same on all ranks. Iterations count from 0 here, as `runner.iter` does.

    Attributes:
        total: Bad steps of the run.
        in_a_row: Those since the last good step.
        since: The iteration in which the row began.
        first_step: That of its first step, which names its record; a later one than `since` where gradients accumulate.
        checkpoint: The last one from before the row; None where there was none.
        weights_in: The iteration whose record holds the weights of the row; None where none does.
        num_weights: Records with weights so far.
        rewinds: How often the run went back to a checkpoint.
        passed_over: Ranges of iterations, half-open, that train nothing.
    """

    total: int = 0
    in_a_row: int = 0
    since: int = 0
    first_step: int = 0
    checkpoint: str | None = None
    weights_in: int | None = None
    num_weights: int = 0
    rewinds: int = 0
    passed_over: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, runner: Any) -> 'GuardState':
        """That of a run."""
        return cls(**runner.message_hub.runtime_info.get(_KEY, {}))

    def keep(self, runner: Any) -> None:
        """Makes it that of a run."""
        runner.message_hub.update_info(_KEY, asdict(self))

    def end_row(self) -> None:
        """Notes that the steps are good again."""
        self.in_a_row, self.weights_in = 0, None

    def renumber(self, factor: float) -> None:
        """Takes iterations for others, so many times as many."""
        self.passed_over = [
            [math.floor(first * factor), math.ceil(end * factor)] for first, end in self.passed_over
        ]
        self.since, self.first_step = int(self.since * factor), int(self.first_step * factor)

    def passes_over(self, iteration: int) -> bool:
        """Whether an iteration trains nothing."""
        return any(first <= iteration < end for first, end in self.passed_over)
