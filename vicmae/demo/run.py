# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo: every step of the project's main job through the tools that a user has."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from vicmae.config.paths import project_file
from vicmae.errors import ConfigError
from vicmae.utils.files import whole_file

CONFIG = 'configs/vicmae/vicmae_vit-tiny-p8_demo.py'
_OWN_DATA = 'configs/vicmae/vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data.py'
_STATE = 'demo.json'


class Demo:
    """Pretrains on the demo data, evaluates, and writes a report; goes on where an earlier call stopped.

    What is done is noted in the work directory: nothing is done twice.

    Args:
        work_dir: Where checkpoints, figures and the report go.
        config: A pretraining config with probes, from the root of the project.
        seed: Seed of weights, samples and masks.
        fresh: Whether to start over, even where a run is complete.
    """

    def __init__(
        self, work_dir: Path, *, config: str = CONFIG, seed: int = 0, fresh: bool = False
    ) -> None:
        self.work_dir = work_dir
        self.seed = seed
        self.fresh = fresh
        try:
            self.config = project_file(config)
        except FileNotFoundError as error:
            raise ConfigError(str(error)) from error
        self.report = work_dir / 'report.html'

    def run(self) -> None:
        """Does what is left to do."""
        begun = time.monotonic()
        self.state = self._open()
        if self.state.get('complete') and self.report.is_file():
            print(
                f'{self.summary()}\nThe demo is complete: {self.report}  (`make demo FRESH=1` starts over)'
            )
            return
        self._pretrain()
        self._evaluate('pretrained', str(self.checkpoint))
        self._evaluate('random_init', '--random-init')
        self._write_report()
        self._note(complete=True)
        print(
            f'\n{self.summary()}\nReport: {self.report}  ({time.monotonic() - begun:.0f} s in all)'
        )

    def summary(self) -> str:
        """The figures that matter, in two lines."""
        trained, random_init = self._metrics('pretrained'), self._metrics('random_init')
        return '\n'.join(
            f'kNN on {kind}: {trained[f"{kind}/knn_top1"]:.1f} %  '
            f'(random weights {random_init[f"{kind}/knn_top1"]:.1f} %, chance {trained[f"{kind}/chance"]:.1f} %)'
            for kind in ('images', 'videos')
        )

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint that was written."""
        named = (self.work_dir / 'last_checkpoint').read_text(encoding='utf-8').strip()
        return self.work_dir / Path(named).name

    def _open(self) -> dict[str, Any]:
        """Reads what an earlier call noted, or starts anew where there is nothing, or another run."""
        wanted = {'seed': self.seed, 'config': self._config_text()}
        path = self.work_dir / _STATE
        if path.is_file() and not self.fresh:
            state = json.loads(path.read_text(encoding='utf-8'))
            if all(state.get(key) == value for key, value in wanted.items()):
                return state
            print('Another seed or config than the last time: starting over.')
        if self.work_dir.exists():
            if not path.is_file() and any(self.work_dir.iterdir()):
                raise ConfigError(
                    f'{str(self.work_dir)!r} holds something that is no demo run. '
                    'Name another folder with `--work-dir`.'
                )
            shutil.rmtree(self.work_dir)
        self.work_dir.mkdir(parents=True)
        self.state = {}
        self._note(**wanted, trained=False, seconds=0.0)
        return self.state

    def _config_text(self) -> str:
        """The config and all bases there are: what a run was started with."""
        bases = sorted(project_file('configs/_base_').rglob('*.py'))
        return '\n'.join(path.read_text(encoding='utf-8') for path in [self.config, *bases])

    def _note(self, **changes: Any) -> None:
        self.state.update(changes)
        with whole_file(self.work_dir / _STATE) as file:
            file.write(json.dumps(self.state).encode())

    def _pretrain(self) -> None:
        if self.state.get('trained'):
            return
        options = ['--work-dir', str(self.work_dir), '--seed', str(self.seed)]
        if (self.work_dir / 'last_checkpoint').is_file():
            options.append('--resume')
        begun = time.monotonic()
        try:
            self._call('train.py', *options)
            self.state['trained'] = True
        finally:
            self._note(seconds=self.state.get('seconds', 0.0) + time.monotonic() - begun)

    def _evaluate(self, name: str, weights: str) -> None:
        if not self._metrics_file(name).exists():
            out = ['--out', str(self._metrics_file(name))]
            work_dir = ['--work-dir', str(self.work_dir / f'test_{name}')]
            self._call('test.py', weights, *out, *work_dir, '--seed', str(self.seed))

    def _metrics_file(self, name: str) -> Path:
        return self.work_dir / f'knn_{name}.json'

    def _metrics(self, name: str) -> dict[str, float]:
        return json.loads(self._metrics_file(name).read_text(encoding='utf-8'))

    def _call(self, tool: str, *arguments: str) -> None:
        """Runs a tool as a user would, and ends with it where it fails."""
        command = [str(project_file(f'tools/{tool}')), str(self.config), *arguments]
        print('\n$ ' + ' '.join(['python', *map(_shorten, command)]), flush=True)
        code = subprocess.run([sys.executable, *command]).returncode
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
            facts={'Config': self.config.name, 'Seed': str(self.seed), 'Command': 'make demo'},
            next_steps=[
                NextStep(
                    'Pool by the maximum instead of the mean.',
                    f'python tools/train.py {CONFIG} --cfg-options model.aggregator.type=MaxPooling',
                ),
                NextStep('Train with two processes.', f'bash tools/dist_train.sh {CONFIG} 2'),
                NextStep(
                    'Pretrain on your own pictures and clips, without labels.',
                    f'python tools/train.py {_OWN_DATA}',
                ),
            ],
        )
        write_report(report, self.report)


def _shorten(word: str) -> str:
    """A path below this folder without the folder."""
    return str(Path(word).relative_to(Path.cwd())) if word.startswith(f'{Path.cwd()}/') else word
