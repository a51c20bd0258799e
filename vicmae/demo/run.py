# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo: pretraining, evaluation and a report, with the commands that a user has."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vicmae.config.paths import find_config, project_file
from vicmae.errors import ConfigError
from vicmae.utils.files import require_folder, whole_file
from vicmae.utils.work_dir import find_run

CONFIG = 'vicmae_vit-tiny-p8_demo'
_OWN_DATA = 'vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data'
_STATE = 'demo.json'


class Demo:
    """Pretrains on the demo data, evaluates, and writes a report; resumes what an earlier call began.

    A file in the work directory records which steps are done.

    Args:
        work_dir: Where checkpoints, metrics and the report go.
        config: Path or name of a pretraining config with probes.
        seed: Seed of weights, samples and masks.
        fresh: Whether to start over, even where a run is complete.
    """

    def __init__(
        self, work_dir: Path, *, config: str = CONFIG, seed: int = 0, fresh: bool = False
    ) -> None:
        self.work_dir = work_dir
        self.seed = seed
        self.fresh = fresh
        self.config = find_config(config)
        self.report = work_dir / 'report.html'

    def run(self) -> None:
        """Runs the steps that are not done yet."""
        started = time.monotonic()
        require_folder(self.work_dir, '--work-dir')
        self.state = self._open()
        if self.state.get('complete') and self.report.is_file():
            print(
                f'{self.summary()}\nThe demo is complete: {self.report}  '
                '(`vicmae demo --fresh` or `make demo FRESH=1` starts over)'
            )
            return
        self._pretrain()
        self._evaluate('pretrained', str(self.checkpoint))
        self._evaluate('random_init', '--random-init')
        self._write_report()
        self._record(complete=True)
        seconds = time.monotonic() - started
        print(f'\n{self.summary()}\nReport: {self.report}  ({seconds:.0f} s in all)')

    def summary(self) -> str:
        """The kNN accuracy on images and on videos, in two lines."""
        trained, random_init = self._metrics('pretrained'), self._metrics('random_init')
        return '\n'.join(
            f'kNN on {kind}: {trained[f"{kind}/knn_top1"]:.1f} %  '
            f'(random weights {random_init[f"{kind}/knn_top1"]:.1f} %, chance {trained[f"{kind}/chance"]:.1f} %)'
            for kind in ('images', 'videos')
        )

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint that was written."""
        name = (self.work_dir / 'last_checkpoint').read_text(encoding='utf-8').strip()
        return self.work_dir / Path(name).name

    def _open(self) -> dict[str, Any]:
        """Reads the state of an earlier call; starts a new run if there is none or its options differ."""
        wanted = {'seed': self.seed, 'config': self._config_text()}
        path = self.work_dir / _STATE
        if path.is_file() and not self.fresh:
            state = json.loads(path.read_text(encoding='utf-8'))
            if all(state.get(key) == value for key, value in wanted.items()):
                return state
            print('The seed or the config has changed since the last call: starting over.')
        if self.work_dir.exists():
            if not path.is_file() and any(self.work_dir.iterdir()):
                raise ConfigError(
                    f'{str(self.work_dir)!r} has files, but none of a demo run. '
                    'Name another folder with `--work-dir`.'
                )
            shutil.rmtree(self.work_dir)
        self.work_dir.mkdir(parents=True)
        self.state = {}
        self._record(**wanted, trained=False, seconds=0.0)
        return self.state

    def _config_text(self) -> str:
        """The text of the config and of all bases, to notice that one was changed."""
        bases = sorted(project_file('configs/_base_').rglob('*.py'))
        return '\n'.join(path.read_text(encoding='utf-8') for path in [self.config, *bases])

    def _record(self, **changes: Any) -> None:
        self.state.update(changes)
        with whole_file(self.work_dir / _STATE) as file:
            file.write(json.dumps(self.state).encode())

    def _pretrain(self) -> None:
        if self.state.get('trained'):
            return
        options = ['--work-dir', str(self.work_dir), '--seed', str(self.seed)]
        if find_run(self.work_dir):
            options.append('--resume')
        started = time.monotonic()
        try:
            self._call('train', *options)
            self.state['trained'] = True
        finally:
            self._record(seconds=self.state.get('seconds', 0.0) + time.monotonic() - started)

    def _evaluate(self, name: str, weights: str) -> None:
        if not self._metrics_file(name).exists():
            out = ['--out', str(self._metrics_file(name))]
            work_dir = ['--work-dir', str(self.work_dir / f'test_{name}')]
            self._call('test', weights, *out, *work_dir, '--seed', str(self.seed))

    def _metrics_file(self, name: str) -> Path:
        return self.work_dir / f'knn_{name}.json'

    def _metrics(self, name: str) -> dict[str, float]:
        return json.loads(self._metrics_file(name).read_text(encoding='utf-8'))

    def _call(self, command: str, *arguments: str) -> None:
        """Runs a command of `vicmae` in a process of its own, and ends with its status if it fails."""
        words = [command, str(self.config), *arguments]
        print('\n$ ' + ' '.join(['vicmae', *map(_shorten, words)]), flush=True)
        code = subprocess.run([sys.executable, '-m', 'vicmae', *words]).returncode
        if code:
            sys.exit(code)

    def _write_report(self) -> None:
        print('\nDrawing the report ...', flush=True)
        # Imported here: the second call of a complete demo needs none of it.
        from vicmae.config.load import load_config

        from .report import NextStep, write_report
        from .results import report_of_run

        report = report_of_run(
            load_config(self.config, {'randomness.seed': self.seed}),
            self.checkpoint,
            pretrained=self._metrics('pretrained'),
            random_init=self._metrics('random_init'),
            seconds=self.state.get('seconds', 0.0),
            facts={'Config': self.config.name, 'Seed': str(self.seed), 'Command': 'vicmae demo'},
            next_steps=[
                NextStep(
                    'Pool by the maximum instead of the mean.',
                    f'vicmae train {CONFIG} --cfg-options model.aggregator.type=MaxPooling',
                ),
                NextStep(
                    'Train with two processes.',
                    f'torchrun --nproc-per-node=2 -m vicmae train {CONFIG} --launcher pytorch',
                ),
                NextStep(
                    'Pretrain on your own pictures and clips, without labels.',
                    f'vicmae train {_OWN_DATA}',
                ),
            ],
        )
        write_report(report, self.report)


def _shorten(word: str) -> str:
    """A path below this folder without the folder."""
    return str(Path(word).relative_to(Path.cwd())) if word.startswith(f'{Path.cwd()}/') else word
