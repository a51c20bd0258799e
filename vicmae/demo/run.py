# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo: pretraining, evaluation and a report, with the commands that a user has."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicmae.config.paths import PACKAGE, find_config, with_bases
from vicmae.errors import ConfigError
from vicmae.utils.files import require_folder, shorten_path, whole_file
from vicmae.utils.work_dir import find_run, move_aside

from .knn import knn_metric

if TYPE_CHECKING:
    from .report import NextStep

CONFIG = 'vicmae_vit-tiny-p8_demo'
_OWN_DATA = 'vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data'
_STATE = 'demo.json'
_LAST = 'last_checkpoint'


class Demo:
    """Pretrains on the demo data, evaluates, and writes a report; resumes what an earlier call began.

    A file in the work directory records which steps are done. In the folder of another training run, its last
    checkpoint is evaluated and the report written.

    Args:
        work_dir: Where checkpoints, metrics and the report go.
        config: Path or name of a pretraining config; by default that of the demo, or of the run in the folder.
        seed: Seed of weights, samples and masks.
        fresh: Whether to start over, even where a run is complete.
    """

    def __init__(
        self, work_dir: Path, *, config: str | None = None, seed: int = 0, fresh: bool = False
    ) -> None:
        self.work_dir = work_dir
        self.seed = seed
        self.fresh = fresh
        self.is_other_run = (work_dir / _LAST).is_file() and not (work_dir / _STATE).is_file()
        self.config_name = config or (self._config_of_run() if self.is_other_run else CONFIG)
        self.config = find_config(self.config_name)
        self.report = work_dir / 'report.html'

    def run(self) -> None:
        """Runs the steps that are not done yet."""
        started = time.monotonic()
        require_folder(self.work_dir, '--work-dir')
        if self.is_other_run:
            self._report_on_other_run()
        elif self._run_demo():
            return
        print(f'\n{self.summary()}\nReport: {self.report}')
        seconds, training = time.monotonic() - started, self.state.get('seconds', 0.0)
        print(f'This call took {seconds:.0f} s, pretraining in all {training:.0f} s.')

    def _run_demo(self) -> bool:
        """Runs the steps of a demo. Returns True if an earlier call completed it."""
        self.state = self._open()
        if self.state.get('complete') and self.report.is_file():
            print(
                f'{self.summary()}\nThe demo is complete: {self.report}  '
                '(`vicmae demo --fresh` or `make demo FRESH=1` starts over)'
            )
            return True
        self._pretrain()
        self._evaluate_both()
        self._write_report()
        self._record(complete=True)
        return False

    def _report_on_other_run(self) -> None:
        """Evaluates the last checkpoint of a run that another command trained, and leaves the run as it is."""
        if self.fresh:
            raise ConfigError(
                f'{str(self.work_dir)!r} holds a training run, which `--fresh` would delete. Leave `--fresh` out for '
                'a report of it, or name another folder with `--work-dir`.'
            )
        changed = max(self.checkpoint.stat().st_mtime, self.config.stat().st_mtime)
        for name in ('pretrained', 'random_init'):
            file = self._metrics_file(name)
            if file.exists() and file.stat().st_mtime < changed:
                file.unlink()
        from .results import training_seconds

        self.state = {'seconds': training_seconds(self.work_dir)}
        self._evaluate_both()
        self._write_report()

    def _config_of_run(self) -> str:
        """Returns the config that the last call of a run was trained with."""
        from mmengine.config import Config

        for path in sorted(self.work_dir.glob('*/vis_data/config.py'), reverse=True):
            # `vicmae test` leaves its config here too, without data to train on.
            if Config.fromfile(path, import_custom_modules=False).get('train_dataloader'):
                return str(path)
        raise ConfigError(
            f'{str(self.work_dir)!r} holds a training run without its config. Name it with `--config`.'
        )

    def summary(self) -> str:
        """Returns the kNN accuracy of each kind of data, a line each."""
        trained, random_init = self._metrics('pretrained'), self._metrics('random_init')
        lines = [
            f'kNN on {kind}: {trained[name]:.1f} %  '
            f'(random weights {random_init[name]:.1f} %, chance {trained[f"{kind}/chance"]:.1f} %)'
            for kind in ('images', 'videos')
            if (name := knn_metric(trained, kind))
        ]
        return '\n'.join(lines) or 'kNN is not measured: the config has no labelled test data.'

    @property
    def checkpoint(self) -> Path:
        """Returns the last checkpoint that was written."""
        name = (self.work_dir / _LAST).read_text(encoding='utf-8').strip()
        return self.work_dir / Path(name).name

    def _open(self) -> dict[str, Any]:
        """Reads the state of an earlier call; starts a new run if there is none or its options differ.

        The run of other options is moved aside; `fresh` deletes it.
        """
        wanted = {'seed': self.seed, 'config': self._config_text()}
        path = self.work_dir / _STATE
        if not path.is_file():
            if any(self.work_dir.iterdir()):
                raise ConfigError(
                    f'{str(self.work_dir)!r} has files, but none of a demo or a training run. '
                    'Name another folder with `--work-dir`.'
                )
        elif not self.fresh:
            state = json.loads(path.read_text(encoding='utf-8'))
            if all(state.get(key) == value for key, value in wanted.items()):
                return state
            print('The seed or the config has changed since the last call: starting over.')
            if find_run(self.work_dir):
                move_aside(self.work_dir)
        if self.work_dir.exists():
            shutil.rmtree(self.work_dir)
        self.work_dir.mkdir(parents=True)
        self.state = {}
        self._record(**wanted, trained=False, seconds=0.0)
        return self.state

    def _config_text(self) -> str:
        """Returns the text of the config and its bases, to notice changes."""
        return '\n'.join(path.read_text(encoding='utf-8') for path in with_bases(self.config))

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

    def _evaluate_both(self) -> None:
        self._evaluate('pretrained', str(self.checkpoint))
        self._evaluate('random_init', '--random-init')

    def _evaluate(self, name: str, weights: str) -> None:
        if not self._metrics_file(name).exists() and self._has_test_data():
            out = ['--out', str(self._metrics_file(name))]
            work_dir = ['--work-dir', str(self.work_dir / f'test_{name}')]
            self._call('test', weights, *out, *work_dir, '--seed', str(self.seed))

    def _has_test_data(self) -> bool:
        from vicmae.config.load import load_config

        return bool(load_config(self.config).get('test_dataloader'))

    def _metrics_file(self, name: str) -> Path:
        return self.work_dir / f'knn_{name}.json'

    def _metrics(self, name: str) -> dict[str, float]:
        file = self._metrics_file(name)
        return json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}

    def _call(self, command: str, *arguments: str) -> None:
        """Runs a command of `vicmae` in a separate process, and ends with its status if it fails."""
        words = [command, shorten_path(self.config_name), *map(shorten_path, arguments)]
        print('\n$ ' + shlex.join(['vicmae', *words]), flush=True)
        # -P: a folder `vicmae` where the user is, such as a checkout, must not take the place of the package.
        process = [sys.executable, '-P', '-m', 'vicmae', command, str(self.config), *arguments]
        paths = [str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
        code = subprocess.run(process, env=environment).returncode
        if code:
            sys.exit(code)

    def _write_report(self) -> None:
        print('\nDrawing the report ...', flush=True)
        # Imported here: the second call of a complete demo needs none of it.
        from vicmae.config.load import load_config

        from .report import format_duration, write_report
        from .results import report_of_run

        seconds = self.state.get('seconds', 0.0)
        counted = 'training steps' if self.is_other_run else 'all calls, with evaluations'
        report = report_of_run(
            load_config(self.config, {'randomness.seed': self.seed}),
            self.checkpoint,
            pretrained=self._metrics('pretrained'),
            random_init=self._metrics('random_init'),
            seconds=seconds,
            facts={
                'Config': shorten_path(self.config_name),
                'Seed': str(self.seed),
                'Command': shlex.join(self._command()),
                'Pretraining': f'{format_duration(seconds)} ({counted})',
            },
            next_steps=self._next_steps(),
        )
        write_report(report, self.report)

    def _command(self) -> list[str]:
        """Returns the command that writes this report."""
        words = ['vicmae', 'demo', '--work-dir', shorten_path(str(self.work_dir))]
        if self.config_name != CONFIG and not self.is_other_run:
            words += ['--config', shorten_path(self.config_name)]
        return words + (['--seed', str(self.seed)] if self.seed else [])

    def _next_steps(self) -> list['NextStep']:
        from .report import NextStep

        config = shlex.quote(shorten_path(self.config_name))
        steps = [
            NextStep(
                'Pool by the maximum instead of the mean.',
                f'vicmae train {config} --cfg-options model.aggregator.type=MaxPooling --work-dir work_dirs/max',
            ),
            NextStep(
                'Train with two processes.',
                f'torchrun --nproc-per-node=2 -m vicmae train {config} --launcher pytorch --work-dir work_dirs/two',
            ),
        ]
        if self.config_name == CONFIG:
            text = 'Pretrain on your own pictures and clips, without labels.'
            steps.append(NextStep(text, f'vicmae train {_OWN_DATA}'))
        return steps
