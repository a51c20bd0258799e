#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The whole path in minutes: pretrain a tiny ViC-MAE on drawn images and videos, measure it, write a report.

Goes on where an earlier call was interrupted, and does nothing twice.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

try:
    from vicmae.utils.cli import run_tool
except ImportError as error:
    sys.exit(
        f'error: {error}\nIn a source tree, `make setup` installs vicmae and what it needs into .venv.'
    )

from vicmae.errors import ConfigError

TOOLS = Path(__file__).parent
CONFIG = TOOLS.parent / 'configs/vicmae/vicmae_vit-tiny-p8_demo.py'
STATE = 'demo.json'  # what the run was started with, and the seconds that it trained


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/demo'), help='where everything goes'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of weights, samples and masks')
    parser.add_argument(
        '--fresh', action='store_true', help='start over, even where a run is complete'
    )
    return parser.parse_args()


def main() -> None:
    """Runs what is left of the demo."""
    args = parse_args()
    begun = time.monotonic()
    state = open_run(args)
    if state.get('complete'):
        print(
            f'The demo is complete: {args.work_dir / "report.html"}\n`make demo FRESH=1` starts over.'
        )
        return
    checkpoint = pretrain(args, state)
    for name, weights in [('pretrained', [str(checkpoint)]), ('random_init', ['--random-init'])]:
        evaluate(args, name, weights)
    report = write_report(args, state, checkpoint)
    save_state(args, state | {'complete': True})
    print(f'\n{summary(args)}\nReport: {report}  ({time.monotonic() - begun:.0f} s in all)')


def open_run(args: argparse.Namespace) -> dict:
    """Reads what an earlier call left, or starts anew where there is nothing or something else."""
    wanted = {'seed': args.seed, 'config': CONFIG.read_text(encoding='utf-8')}
    path = args.work_dir / STATE
    if path.is_file() and not args.fresh:
        state = json.loads(path.read_text(encoding='utf-8'))
        if all(state.get(key) == value for key, value in wanted.items()):
            return state
        print('Another seed or config than the last time: starting over.')
    elif args.work_dir.exists() and not path.is_file() and any(args.work_dir.iterdir()):
        raise ConfigError(
            f'{str(args.work_dir)!r} holds something that is no demo run. Name another folder with --work-dir.'
        )
    if args.work_dir.exists():
        shutil.rmtree(args.work_dir)
    save_state(args, wanted | {'seconds': 0.0})
    return wanted | {'seconds': 0.0}


def save_state(args: argparse.Namespace, state: dict) -> None:
    """Notes how far the run is."""
    args.work_dir.mkdir(parents=True, exist_ok=True)
    (args.work_dir / STATE).write_text(json.dumps(state), encoding='utf-8')


def run(*command: str) -> None:
    """Runs a tool as a user would, and ends with it where it fails."""
    shown = [os.path.relpath(word) if os.path.isabs(word) else word for word in command]
    print('\n$ ' + ' '.join(['python', *shown]), flush=True)
    code = subprocess.run([sys.executable, *command]).returncode
    if code:
        sys.exit(code)


def pretrain(args: argparse.Namespace, state: dict) -> Path:
    """Trains to the end, from the last checkpoint on where there is one."""
    done = args.work_dir / 'trained'
    begun = time.time()
    try:
        if not done.exists():
            run(
                str(TOOLS / 'train.py'),
                str(CONFIG),
                '--work-dir',
                str(args.work_dir),
                '--resume',
                '--seed',
                str(args.seed),
            )
            done.touch()
    finally:
        state['seconds'] += time.time() - begun
        save_state(args, state)
    return Path((args.work_dir / 'last_checkpoint').read_text(encoding='utf-8').strip())


def evaluate(args: argparse.Namespace, name: str, weights: list[str]) -> None:
    """Measures kNN on images and videos, once."""
    out = args.work_dir / f'knn_{name}.json'
    if not out.exists():
        run(
            str(TOOLS / 'test.py'),
            str(CONFIG),
            *weights,
            '--out',
            str(out),
            '--work-dir',
            str(args.work_dir / f'test_{name}'),
            '--seed',
            str(args.seed),
        )


def metrics(args: argparse.Namespace, name: str) -> dict[str, float]:
    """What tools/test.py found."""
    return json.loads((args.work_dir / f'knn_{name}.json').read_text(encoding='utf-8'))


def write_report(args: argparse.Namespace, state: dict, checkpoint: Path) -> Path:
    """Draws the page to look at."""
    print('\nDrawing the report ...', flush=True)
    from vicmae.apis import load_config
    from vicmae.visualization.report import NextStep, write_report
    from vicmae.visualization.run_report import report_of_run

    cfg = load_config(CONFIG, {'randomness.seed': args.seed})
    report = report_of_run(
        cfg,
        checkpoint,
        pretrained=metrics(args, 'pretrained'),
        random_init=metrics(args, 'random_init'),
        seconds=state['seconds'],
        facts={'Config': CONFIG.name, 'Seed': str(args.seed), 'Command': 'make demo'},
        next_steps=[
            NextStep(
                'Pool by the maximum instead of the mean.',
                f'python tools/train.py configs/vicmae/{CONFIG.name} --cfg-options model.aggregator.type=MaxPooling',
            ),
            NextStep(
                'Use two processes.', f'bash tools/dist_train.sh configs/vicmae/{CONFIG.name} 2'
            ),
            NextStep(
                'Pretrain on your own pictures and clips, without labels.',
                'python tools/train.py configs/vicmae/vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data.py',
            ),
        ],
    )
    return write_report(report, args.work_dir / 'report.html')


def summary(args: argparse.Namespace) -> str:
    """The two figures that matter."""
    trained, random_init = metrics(args, 'pretrained'), metrics(args, 'random_init')
    return '\n'.join(
        f'kNN on {kind}: {trained[f"{kind}/knn_top1"]:.1f} %  '
        f'(random weights {random_init[f"{kind}/knn_top1"]:.1f} %, chance {trained[f"{kind}/chance"]:.1f} %)'
        for kind in ('images', 'videos')
    )


if __name__ == '__main__':
    run_tool(main)
