# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The losses of the first steps of a training, and where two such records differ.

`tools/analysis_tools/compare_losses.py` runs this file in a separate process, with the `vicmae` of any checkout.
"""

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.hooks import Hook

from vicmae.errors import TrainingError

Losses = list[dict[str, float]]  # of each step, by name

# Kernels for other processors, and other numbers of threads, round otherwise, and each step builds on the last one:
# 6e-7 of a loss was the most in the 16 steps of the debug run, for AVX2, SSE and plain kernels and one or two threads.
TOLERANCE = 1e-4
# They change no loss. Signals stay with whoever calls this.
_LEFT_OUT = ('checkpoint', 'logger', 'preemption', 'progress')


class Difference(NamedTuple):
    """A difference between two records of losses. NaN if a record lacks the loss."""

    step: int  # counts from 1
    name: str
    before: float
    after: float

    @property
    def relative(self) -> float:
        """Returns the distance of both, in the scale of the larger one."""
        return abs(self.after - self.before) / max(abs(self.before), abs(self.after), 1e-30)


def record_losses(config: str | Path, steps: int) -> Losses:
    """Trains the first steps of a config on the CPU, in float32 and one thread, and returns each of their losses.

    Data are looked for from the current folder on, and drawn there if they are demo data. Nothing else is written.

    Args:
        config: Path of a config that trains.
        steps: Number of steps.
    """
    import torch

    from vicmae.apis import build_runner, load_config

    cfg = load_config(config)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(dict.fromkeys(['val_dataloader', 'val_cfg', 'val_evaluator']))
    cfg.default_hooks.update(dict.fromkeys(_LEFT_OUT & cfg.default_hooks.keys()))
    # In bfloat16 kernels for two processors differ by 6 % after ten steps of the debug run.
    cfg.optim_wrapper.update(type='OptimWrapper')
    cfg.optim_wrapper.pop('dtype', None)
    cfg.launcher = 'none'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recorder = _Recorder(steps)
    try:
        with tempfile.TemporaryDirectory() as work_dir, suppress(_EnoughSteps):
            cfg.work_dir, cfg.experiment_name = work_dir, Path(work_dir).name
            runner = build_runner(cfg, training=True)
            runner.register_hook(recorder, priority='VERY_LOW')
            runner.train()
    finally:
        torch.set_num_threads(threads)
    return recorder.losses


def record_losses_of(checkout: Path, config: Path, steps: int) -> Losses:
    """Calls `record_losses` in a new process that hides GPUs, with the `vicmae` of a checkout's folder."""
    settings = dict(PYTHONPATH=str(checkout), CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'losses.json')
        ended = subprocess.run(
            [sys.executable, '-P', __file__, config, str(steps), out],
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
        )
        if ended.returncode:
            raise TrainingError(
                f'Training {str(config)!r} failed with status {ended.returncode}, see above.'
            )
        return json.loads(out.read_text(encoding='utf-8'))


def write_losses(path: Path, config: str, losses: Losses) -> None:
    """Writes a record for people to read: a line for each step, and what it was made with."""
    import torch

    made_with = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        cpu=torch.backends.cpu.get_cpu_capability(),
    )
    head = json.dumps(dict(config=config, made_with=made_with))[:-1]
    rows = ',\n'.join(json.dumps(row) for row in losses)
    path.write_text(f'{head}, "losses": [\n{rows}\n]}}\n', encoding='utf-8')


def compare_losses(before: Losses, after: Losses, tolerance: float) -> Difference | None:
    """Returns the first loss of two records that differs by more than rounding, or None.

    A loss that only the second record has is new, and no difference. NaN always differs.

    Args:
        before: Earlier losses.
        after: Current losses.
        tolerance: Largest relative distance that counts as rounding.
    """
    found = _differences(before, after)
    return next((d for d in found if not d.relative <= tolerance), None)


def describe_losses(before: Losses, after: Losses, tolerance: float) -> str:
    """Says in one line what `compare_losses` found, or how near two records are to each other."""
    first = compare_losses(before, after, tolerance)
    if first is not None:
        return (
            f'step {first.step} has another `{first.name}`: {first.before:.9g} before, {first.after:.9g} now '
            f'(relative difference {first.relative:.1e}, tolerance {tolerance:g}).'
        )
    text = f'the losses of {len(before)} steps are equal'
    found = _differences(before, after)
    if not found:
        return f'{text}, bit for bit.'
    largest = max(found, key=lambda difference: difference.relative)
    return (
        f'{text} but for rounding: at most {largest.relative:.1e} '
        f'(`{largest.name}` in step {largest.step}, tolerance {tolerance:g}).'
    )


def _differences(before: Losses, after: Losses) -> list[Difference]:
    missing: Losses = [{}] * (len(before) - len(after))
    rows = zip(before, [*after, *missing], strict=False)
    return [
        Difference(step, name, value, row.get(name, math.nan))
        for step, (was, row) in enumerate(rows, start=1)
        for name, value in was.items()
        if value != row.get(name)
    ]


class _EnoughSteps(Exception):
    """Ends the training."""


class _Recorder(Hook):
    """Collects what the model returns for the log, to all digits that a float32 has."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.losses: Losses = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.losses.append({name: float(f'{value:.9g}') for name, value in outputs.items()})
        if len(self.losses) == self.steps:
            raise _EnoughSteps


if __name__ == '__main__':
    Path(sys.argv[3]).write_text(
        json.dumps(record_losses(sys.argv[1], int(sys.argv[2]))), encoding='utf-8'
    )
