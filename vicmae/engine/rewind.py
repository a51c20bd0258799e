# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Going back to a checkpoint, and passing over the batches that a run failed on. Iterations count from 0."""

from typing import Any, NamedTuple

from .guard_state import GuardState


class Rewind(NamedTuple):
    """Where to go back to, and what to pass over then.

    Attributes:
        checkpoint: Its path.
        first: The first iteration to pass over.
        end: The one behind the last.
    """

    checkpoint: str
    first: int
    end: int


class RewindDue(Exception):
    """Ends a training step from which the loop has to go back."""

    def __init__(self, rewind: Rewind) -> None:
        super().__init__(rewind)
        self.rewind = rewind


def go_back(runner: Any, rewind: Rewind) -> None:
    """Makes weights, optimiser, schedules and iteration those of a checkpoint, and notes what to pass over.

    Args:
        runner: The Runner, between two steps.
        rewind: Where to, and what.
    """
    state = GuardState.of(runner)  # the checkpoint's is older
    runner.optim_wrapper.zero_grad()
    runner.resume(rewind.checkpoint)
    runner.optim_wrapper.initialize_count_status(runner.model, runner.iter, runner.max_iters)
    state.end_row()
    state.rewinds += 1
    state.passed_over.append([max(rewind.first, runner.iter), rewind.end])
    state.keep(runner)
    first, end = state.passed_over[-1]
    runner.logger.warning(
        f'Back at {rewind.checkpoint!r}, in front of iteration {runner.iter + 1}. The batches of iterations '
        f'{first + 1} to {end} are passed over. This is rewind {state.rewinds} of the run.'
    )


def pass_over(runner: Any, number: int, batch: Any) -> None:
    """What an iteration does that trains nothing: it counts, for schedules, checkpoints and accumulation too.

    Args:
        runner: The Runner.
        number: Of the batch in its epoch.
        batch: The batch.
    """
    runner.call_hook('before_train_iter', batch_idx=number, data_batch=batch)
    runner.optim_wrapper._inner_count += 1
    runner.call_hook('after_train_iter', batch_idx=number, data_batch=batch, outputs=None)
