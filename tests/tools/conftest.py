# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs the tools as a user does, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DEBUG = ROOT / 'configs/vicmae/vicmae_vit-tiny-p8_debug.py'
# No GPU: figures and weights have to be the same to the last bit.
ENVIRONMENT = {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}


def figures(path):
    """What `test.py --out` wrote."""
    return json.loads(path.read_text())


def assert_same_weights(one, two):
    """Equal to rounding. Not biases: those in front of batch norm, or of keys, have a gradient of rounding alone."""
    assert one.keys() == two.keys()
    for name in one:
        if not name.endswith('bias') and one[name].is_floating_point() and 'running' not in name:
            difference = (one[name] - two[name]).norm() / one[name].norm().clamp(min=1e-6)
            assert difference < 1e-4, f'{name}: {difference:.1e}'


class Ended(NamedTuple):
    """What is left of a process."""

    status: int
    out: str
    err: str


@pytest.fixture(scope='session')
def place(demo_data):
    """The folder in which tools are run: it has the debug config's data."""
    return demo_data.parents[1]


@pytest.fixture(scope='session')
def preloaded():
    """The process whose forks run the tools."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name('preloaded.py'))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    yield process
    # Not by closing stdin: a fork of this process, such as a forgotten worker of a loader, holds it open, too.
    print(file=process.stdin, flush=True)
    process.wait(60)


@pytest.fixture(scope='session')
def run_tool(preloaded, place, tmp_path_factory):
    """Runs a file below tools/ with arguments, where the demo data are in `data/`; `kill_after` seconds, if given."""

    def run(*argv, kill_after=None, **env):
        folder = tmp_path_factory.mktemp('output')
        job = dict(
            argv=[str(ROOT / 'tools' / argv[0]), *map(str, argv[1:])],
            cwd=str(place),
            env=env,
            stdout=str(folder / 'stdout'),
            stderr=str(folder / 'stderr'),
            kill_after=kill_after,
        )
        print(json.dumps(job), file=preloaded.stdin, flush=True)
        status = int(preloaded.stdout.readline())
        return Ended(status, (folder / 'stdout').read_text(), (folder / 'stderr').read_text())

    return run


@pytest.fixture(scope='session')
def trained(run_tool, tmp_path_factory):
    """The work directory of two epochs without a break."""
    work_dir = tmp_path_factory.mktemp('trained')
    ended = run_tool('train.py', DEBUG, '--work-dir', work_dir)
    assert ended.status == 0, ended.err
    (work_dir / 'out.txt').write_text(ended.out)
    return work_dir


@pytest.fixture(scope='session')
def tested(run_tool, trained, tmp_path_factory):
    """The figures of its last checkpoint."""
    out = tmp_path_factory.mktemp('tested') / 'figures.json'
    ended = run_tool(
        'test.py', DEBUG, trained / 'iter_16.pth', '--work-dir', out.parent, '--out', out
    )
    assert ended.status == 0, ended.err
    return ended, out
