# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pretrains every row of the arena with the same budget, and scores its frozen features.

    python projects/arena/run.py                                # the methods, three seeds, the same FLOPs
    python projects/arena/run.py --budget 60s                   # the same time, on a machine that does nothing else
    python projects/arena/run.py --rows vicmae mae --budget 32e12   # some, four times as long
    python projects/arena/run.py --size large --jobs 4          # ViT-S, for a GPU

Each run writes one JSON file to projects/arena/results. What is there is not run again, so the command continues where
it was stopped. First it chooses the learning rate of each row: four values, a quarter of the FLOPs, one seed.
`python projects/arena/page.py` makes the tables.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data import ROOT, labelled_sets, prepare
from results import RESULTS, Result
from rows import FINETUNED, FLOPS, GROUPS, ROWS, Row

LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
SEARCH_SHARE = 1 / 4
_SEARCH_SEED = 100  # not one of the tables
_MAX_DEVIATION = 0.05  # of the wall time
WORK = Path('work_dirs/arena')


@dataclass(frozen=True)
class Task:
    """A run: a row with a seed, a learning rate and a budget.

    Attributes:
        table: Folder of its result: flops, 32-tflops (or another budget), time, search or finetune.
        budget: Its amount, by the unit: flops or seconds.
        size: Of the model: small or large.
    """

    row: str
    table: str
    seed: int
    lr: float
    budget: dict[str, float]
    size: str = 'small'

    @property
    def name(self) -> str:
        """Name of the run, and of its files."""
        what = f'lr{self.lr:g}' if self.table == 'search' else f'seed{self.seed}'
        return f'{"" if self.size == "small" else "large/"}{self.table}/{self.row}/{what}'

    @property
    def path(self) -> Path:
        """Path of the result."""
        return RESULTS / f'{self.name}.json'


def main() -> int:
    """Runs what is missing."""
    args = parse_args()
    if args.one:
        run(Task(**json.loads(args.one)))
        return 0
    data = args.data.resolve()
    os.chdir(ROOT)
    prepare(data)
    _write_sets()
    rows = chosen_rows(args.rows)
    default = FLOPS[args.size]
    searched = [row.searched for row in rows] + ['supervised'] * args.finetune
    searches = [
        Task(name, 'search', _SEARCH_SEED, rate, dict(flops=SEARCH_SHARE * args.flops), args.size)
        for name in dict.fromkeys(searched)
        if name is not None
        for rate in LEARNING_RATES
    ]
    failed = run_all(searches, args.jobs)
    if args.seconds:
        table, budget = 'time', dict(seconds=args.seconds)
    else:
        longer = f'{args.flops / 1e12:g}-tflops'
        table, budget = 'flops' if args.flops == default else longer, dict(flops=args.flops)
    runs = [
        Task(row.name, table, seed, best_rate(row, args.size), budget, args.size)
        for seed in range(args.seeds)
        for row in rows
        if row.max_seeds is None or seed < row.max_seeds
    ]
    failed += run_all(runs, args.jobs)
    if args.finetune:
        lr = best_rate(ROWS['supervised'], args.size)
        failed += run_all(
            [
                replace(run, table='finetune', lr=lr, budget=dict(flops=args.flops))
                for run in runs
                if run.row in FINETUNED
            ],
            args.jobs,
        )
    for name in failed:
        print(f'error: {name} failed, {WORK / name}.txt says why.', file=sys.stderr)
    return bool(failed)


def run_all(tasks: Sequence[Task], jobs: int) -> list[str]:
    """Runs those tasks that have no result, each in its own process. Returns the names of those that failed."""
    missing = [task for task in tasks if not task.path.exists()]
    done = len(tasks) - len(missing)
    begun, failed = time.monotonic(), []
    threads = str(max(1, len(os.sched_getaffinity(0)) // jobs))

    def start(task: Task) -> tuple[Task, int, float]:
        log = WORK / f'{task.name}.txt'
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, '--one', json.dumps(asdict(task))]
        before = time.monotonic()
        with open(log, 'w') as out:
            env = {**os.environ, 'OMP_NUM_THREADS': threads}
            status = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, env=env
            ).returncode
        return task, status, time.monotonic() - before

    with ThreadPoolExecutor(jobs) as pool:
        for number, (task, status, seconds) in enumerate(pool.map(start, missing), 1):
            left = (time.monotonic() - begun) / number * (len(missing) - number)
            text = _describe(task) if not status else 'FAILED'
            print(
                f'[{done + number}/{len(tasks)}] {task.name}: {text}, {seconds:.0f} s; {left / 60:.0f} min left',
                flush=True,
            )
            failed += [task.name] * bool(status)
    return failed


def run(task: Task) -> None:
    """Trains and scores one row, and writes its result."""
    import torch

    import vicmae
    from scoring import classify, score, score_floor
    from vicmae.engine.hardware import cpu_has_bfloat16

    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    result: dict[str, Any] = dict(
        **asdict(task),
        config=str(ROWS[task.row].config.relative_to(ROOT)),
        threads=torch.get_num_threads(),
        dtype='bfloat16' if cpu_has_bfloat16() or torch.cuda.is_available() else 'float32',
        machine=torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        versions=dict(
            python=platform.python_version(), torch=torch.__version__, vicmae=vicmae.__version__
        ),
        commit=_commit(),
        date=datetime.date.today().isoformat(),
    )
    if task.row == 'floor':
        result['right'] = score_floor(labelled_sets())
    else:
        model, trained = train(task)
        result |= trained
        if task.table == 'finetune':
            result['right'] = classify(model, labelled_sets())
        else:
            result['right'], result['health'] = score(
                model, labelled_sets(), search=task.table == 'search'
            )
    task.path.parent.mkdir(parents=True, exist_ok=True)
    part = task.path.with_suffix('.part')
    part.write_text(json.dumps(result, indent=1) + '\n')
    part.replace(task.path)


def train(task: Task) -> tuple[Any, dict[str, Any]]:
    """Trains the model of a row for its budget; returns it with what that took. Random weights are drawn."""
    from budget import (
        NUM_STEPS_NOT_TIMED,
        NUM_STEPS_TIMED,
        Clock,
        count_step_flops,
        measure_step,
    )
    from vicmae.apis import build_runner, draw_weights
    from vicmae.registry import MODELS

    cfg = config_of(task)
    if ROWS[task.row].searched is None and task.table != 'finetune':
        model = MODELS.build(cfg.model)
        draw_weights(model, task.seed)
        return model, {}
    batch_size = cfg.train_dataloader.batch_size

    def runner_of(steps: float, folder: str) -> Any:
        cfg.work_dir = str(WORK / folder)
        cfg.train_dataloader.sampler.samples_per_epoch = round(steps) * batch_size
        return build_runner(cfg.copy(), training=True)

    step_flops = count_step_flops(cfg)
    if 'flops' in task.budget:
        steps = task.budget['flops'] / step_flops
    else:
        pace = measure_step(runner_of(NUM_STEPS_NOT_TIMED + NUM_STEPS_TIMED, f'{task.name}-pace'))
        steps = task.budget['seconds'] / pace
    clock = Clock()
    runner = runner_of(steps, task.name)
    runner.register_hook(clock)
    runner.train()
    if 'seconds' in task.budget:
        _require_time(clock.seconds, task.budget['seconds'])
    return runner.model, dict(
        iterations=clock.steps,
        batch_size=batch_size,
        samples=clock.steps * batch_size,
        flops=clock.steps * step_flops,
        seconds=round(clock.seconds, 1),
    )


def config_of(task: Task) -> Any:
    """Returns the config of a run, without its number of steps."""
    import torch

    from vicmae.apis import load_config
    from vicmae.engine.hardware import cpu_has_bfloat16

    cfg = load_config(ROWS[task.row].config)
    if task.table == 'finetune':
        cfg = _finetuning_of(task, cfg.model.backbone)
    if task.size == 'large':
        _enlarge(cfg)
    cfg.launcher, cfg.randomness.seed = 'none', task.seed
    cfg.optim_wrapper.optimizer.lr = task.lr
    if cpu_has_bfloat16() or torch.cuda.is_available():
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
    cfg.default_hooks.checkpoint.update(save_optimizer=False, save_param_scheduler=False)
    if task.table == 'search':
        for source in cfg.train_dataloader.dataset.sources.values():
            if source is not None:
                source.shards = [path for path in source.shards if not path.endswith('/dev')]
    return cfg


def _finetuning_of(task: Task, backbone: Any) -> Any:
    """Returns the config of the supervised row with the backbone and the weights of another one."""
    from vicmae.apis import load_config

    cfg = load_config(ROWS['supervised'].config)
    if backbone.get('num_frames') != 1:  # an encoder of frames is inflated to this config's
        backbone.pop('masking', None)
        cfg.model.backbone = backbone
    if ROWS[task.row].searched is None:
        return cfg
    pretrained = replace(task, table='flops')
    weights = WORK / pretrained.name / 'epoch_1.pth'
    if not weights.exists():
        raise SystemExit(
            f'error: no weights {str(weights)!r}. Remove {str(pretrained.path)!r}, and run it again.'
        )
    cfg.model.pretrained = str(weights)
    return cfg


def _enlarge(cfg: Any) -> None:
    """Makes the encoder a ViT-S and the batch four times as large, for a GPU."""
    cfg.model.backbone.arch = dict(
        embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536
    )
    if cfg.model.get('neck'):
        cfg.model.neck.update(embed_dim=192, depth=4, num_heads=6)
    cfg.train_dataloader.batch_size *= 4
    cfg.train_dataloader.num_workers = 3
    cfg.auto_scale_lr.base_batch_size *= 4


def _require_time(seconds: float, budget: float) -> None:
    if abs(seconds / budget - 1) > _MAX_DEVIATION:
        raise SystemExit(
            f'error: {seconds:.0f} s of training in place of {budget:.0f}. Does this machine do something else?'
        )


def best_rate(row: Row, size: str) -> float:
    """Returns the learning rate with the best score of the search."""
    if row.searched is None:
        return 0.0
    tasks = {
        rate: Task(row.searched, 'search', _SEARCH_SEED, rate, {}, size) for rate in LEARNING_RATES
    }
    return max(LEARNING_RATES, key=lambda rate: _score_of(tasks[rate]))


def chosen_rows(names: Sequence[str]) -> list[Row]:
    """Returns the rows of these names and groups, in the order of the tables."""
    return [row for row in ROWS.values() if {row.name, row.group, 'all'} & set(names)]


def _score_of(task: Task) -> float:
    return _result_of(task).figure('score')


def _describe(task: Task) -> str:
    result = _result_of(task)
    by = 'finetune' if task.table == 'finetune' else 'logistic'
    sets = ', '.join(f'{name} {result.accuracy(name, by):.1f}' for name in result.content['right'])
    return f'{result.figure("score", by):.1f} ({sets})'


def _result_of(task: Task) -> Result:
    return Result(task.path, json.loads(task.path.read_text()))


def _write_sets() -> None:
    """Writes what the results say of each test sample: its group. No names of files, and no pictures."""
    path = RESULTS / 'sets.json'
    if path.exists():
        return
    sets = {}
    for labelled in labelled_sets():
        tested = sum(query for _, query in labelled.parts(search=False)).astype(bool)
        labels = labelled.labels[tested]
        counts = [int((labels == label).sum()) for label in set(labels.tolist())]
        sets[labelled.name] = dict(
            groups=labelled.groups[tested].tolist(),
            classes=len(set(labelled.labels.tolist())),
            chance=round(100 * max(counts) / len(labels), 2),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sets) + '\n')


def _processor() -> str:
    names = [
        line for line in Path('/proc/cpuinfo').read_text().splitlines() if 'model name' in line
    ]
    return f'{names[0].partition(": ")[2]}, {len(os.sched_getaffinity(0))} cores'


def _commit() -> str:
    return subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True
    ).stdout.strip()


def parse_args() -> argparse.Namespace:
    """Reads and checks the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get('ARENA_DATA', ROOT / '../shared/data')
    parser.add_argument(
        '--data', type=Path, default=Path(default), help='folder with real_mini and motion_mini'
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        default=['main'],
        choices=['all', *GROUPS, *ROWS],
        metavar='ROW',
        help=f'rows to run, by name or group: all, {", ".join(GROUPS)} (main)',
    )
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds (3)')
    parser.add_argument(
        '--size',
        choices=FLOPS,
        default='small',
        help='small, for a CPU, or large: ViT-S and 512 samples a step, for a GPU (small)',
    )
    parser.add_argument(
        '--budget',
        help=f'FLOPs of a run ({FLOPS["small"]:g}; large {FLOPS["large"]:g}), or seconds such as 60s',
    )
    parser.add_argument(
        '--jobs', type=int, default=1, help='runs at a time, for a budget of FLOPs (1)'
    )
    parser.add_argument(
        '--finetune',
        action='store_true',
        help=f'fine-tune the weights of {", ".join(FINETUNED)} on all labels, too',
    )
    parser.add_argument('--one', help=argparse.SUPPRESS)
    args = parser.parse_args()
    budget = args.budget or str(FLOPS[args.size])
    try:
        amount = float(budget.removesuffix('s'))
    except ValueError:
        parser.error(
            f'`--budget` is a number of FLOPs, or of seconds such as 180s, got {args.budget!r}.'
        )
    args.seconds = amount if budget.endswith('s') else None
    args.flops = FLOPS[args.size] if args.seconds else amount
    if args.finetune and budget != str(FLOPS[args.size]):
        parser.error('`--finetune` takes the weights of the default budget: leave `--budget` out.')
    if args.seconds and args.jobs > 1:
        parser.error('Runs at fixed wall time run alone: `--jobs 1`.')
    return args


if __name__ == '__main__':
    raise SystemExit(main())
