# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Killed at any moment and started again, a run ends as one that nothing happened to, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vicmae.checkpoints.read import load_checkpoint_file

from .conftest import DEBUG, ENVIRONMENT, ROOT, assert_same_weights

pytestmark = pytest.mark.slow

KILLS = 12
# What depends on the clock, and on how often the run began.
CLOCK = (
    'time',
    'data_time',
    'eta',
    'cfg',
    'experiment_name',
    'memory',
    'last_ckpt',
    'kept_checkpoints',
)

ITERATIONS = f"""
_base_ = '{DEBUG}'
train_cfg = dict(
    _delete_=True, type='IterLoop', max_iters=20, val_interval=12
)
optim_wrapper = dict(accumulative_counts=3)
model = dict(target=dict(_delete_=True, type='EMATarget'))
default_hooks = dict(checkpoint=dict(interval=2, async_save=True))
"""


def last_checkpoint(work_dir):
    return load_checkpoint_file((work_dir / 'last_checkpoint').read_text())


def differences(one, two, where=''):
    """The places at which two checkpoints differ."""
    if isinstance(one, dict):
        if not isinstance(two, dict) or one.keys() != two.keys():
            return [f'{where}: other keys']
        pairs = [(k, one[k], two[k]) for k in one if str(k).rpartition('/')[2] not in CLOCK]
        return [d for k, a, b in pairs for d in differences(a, b, f'{where}.{k}')]
    if isinstance(one, list | tuple):
        if len(one) != len(two):
            return [f'{where}: another length']
        pairs = enumerate(zip(one, two, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f'{where}.{i}')]
    if isinstance(one, torch.Tensor):
        same = torch.equal(one, two) or torch.equal(one.isnan(), two.isnan())
        return [] if same and torch.equal(one.nan_to_num(), two.nan_to_num()) else [where]
    return [] if one == two else [f'{where}: {one!r} and {two!r}']


def assert_same_end(one, two):
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'message_hub'):
        assert differences(one[part], two[part], part) == []
    for name in ('epoch', 'iter', 'position', 'seed'):
        assert one['meta'][name] == two['meta'][name], name


def tear(work_dir, rng):
    """Leaves of the last checkpoint what a power cut may leave, and of another one a beginning."""
    path = Path((work_dir / 'last_checkpoint').read_text())
    size = path.stat().st_size
    os.truncate(path, rng.randrange(size))
    (work_dir / 'iter_99.pth.unfinished').write_bytes(b'PK')


def assert_survives(run_tool, tmp_path, config, *options, kills, tears=True, earliest=0.0):
    """Kills runs so many times, `earliest` after this share of a run, and compares each end with one without a break.

    With `tears`, every other kill that leaves a checkpoint also tears it, and there are kills until one does.
    """
    begun = time.monotonic()
    ended = run_tool('train.py', config, '--work-dir', tmp_path / 'whole', *options)
    assert ended.status == 0, ended.err
    takes = time.monotonic() - begun
    whole = last_checkpoint(tmp_path / 'whole')
    rng = random.Random(config.stem)
    killed = left = runs = 0
    while killed < kills or (tears and not left):
        runs += 1
        work_dir = tmp_path / f'run{runs}'
        while True:
            command = ['train.py', config, '--work-dir', work_dir, '--resume', *options]
            more = killed < kills or (tears and not left)
            kill_after = takes * rng.uniform(earliest, 1) if more else None
            ended = run_tool(*command, kill_after=kill_after)
            if ended.status == 0:
                break
            assert ended.status == -signal.SIGKILL, ended.err
            killed += 1
            if tears and (work_dir / 'last_checkpoint').is_file():
                left += 1
                if left % 2:
                    tear(work_dir, rng)
        assert_same_end(whole, last_checkpoint(work_dir))


@pytest.mark.parametrize('kind', ['epochs', 'iterations'])
def test_run_that_is_killed_again_and_again_ends_as_one_without_a_break(run_tool, tmp_path, kind):
    config, kills = DEBUG, KILLS
    if kind == 'iterations':  # with accumulation, a teacher, and checkpoints beside training
        config, kills = tmp_path / 'iterations.py', KILLS // 2
        config.write_text(ITERATIONS)
    assert_survives(run_tool, tmp_path, config, kills=kills)


# MAE and SimCLR have nothing that ViC-MAE doesn't have.
TESTED = ('vicmae_vit-tiny-p8_debug', 'mae_vit-tiny-p8_debug', 'simclr_vit-tiny-p8_debug')
METHODS = {path.stem: (path, []) for path in sorted((ROOT / 'configs').glob('*/*_debug.py'))}
METHODS['omnimae_mixed'] = (
    METHODS['omnimae_vit-tiny-p8_debug'][0],
    ['train_dataloader.batch_sampler=None'],  # images and clips in each step
)
JOINT = ROOT / 'configs/supervised_joint/supervised-joint_vit-tiny-p8_debug.py'
IN_MID_EPOCH = ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=3']
METHODS[JOINT.stem] = (JOINT, IN_MID_EPOCH)  # its batches are mixed
METHODS['supervised_joint_of_one_source'] = (
    JOINT,
    ['train_dataloader.batch_sampler.type=OneSourceBatches', *IN_MID_EPOCH],
)


@pytest.mark.parametrize('name', [name for name in METHODS if name not in TESTED])
def test_every_method_survives_a_kill(run_tool, tmp_path, name):
    config, changes = METHODS[name]
    options = ['--cfg-options', *changes] if changes else []
    assert_survives(run_tool, tmp_path, config, *options, kills=1, tears=False, earliest=0.5)


# Six batches an epoch on each of two, two of them a step: checkpoints are in mid-epoch.
TWO = ['train_dataloader.sampler.samples_per_epoch=96', 'optim_wrapper.accumulative_counts=2']


def start_ranks(place, work_dir, *options, restarts=0):
    """Starts a run of two processes; returns the launcher."""
    return subprocess.Popen(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
            f'--max-restarts={restarts}',
            *(ROOT / 'tools/train.py', DEBUG, '--launcher', 'pytorch', '--work-dir', work_dir),
            *(*options, '--cfg-options', *TWO),
        ],
        cwd=place,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ranks_of(launcher):
    """The process numbers of the ranks."""
    listed = subprocess.run(
        ['pgrep', '-P', str(launcher.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def wait_for(file, launcher, seconds=120):
    deadline = time.monotonic() + seconds
    while not file.is_file():
        assert launcher.poll() is None, launcher.stdout.read()
        assert time.monotonic() < deadline, f'{file} does not come'
        time.sleep(0.02)


def finish(launcher, seconds=240):
    out, _ = launcher.communicate(timeout=seconds)
    return launcher.returncode, out


@pytest.fixture(scope='module')
def trained_by_two(place, tmp_path_factory):
    """The work directory of two processes without a break."""
    work_dir = tmp_path_factory.mktemp('two')
    status, out = finish(start_ranks(place, work_dir))
    assert status == 0, out
    return work_dir


def test_run_of_two_resumes_as_one_with_the_same_data(run_tool, place, trained_by_two, tmp_path):
    launcher = start_ranks(place, tmp_path)
    wait_for(tmp_path / 'iter_4.pth', launcher)
    os.killpg(launcher.pid, signal.SIGKILL)
    finish(launcher)
    options = [*TWO, 'train_dataloader.batch_size=16']
    ended = run_tool(
        'train.py', DEBUG, '--work-dir', tmp_path, '--resume', '--cfg-options', *options
    )
    assert ended.status == 0, ended.err
    assert 'Resumed with 1 process instead of 2. The order of the data is the same' in ended.out
    one, two = last_checkpoint(tmp_path), last_checkpoint(trained_by_two)
    assert one['meta']['iter'] == two['meta']['iter'] == 12
    assert_same_weights(one['state_dict'], two['state_dict'])


@pytest.mark.parametrize('whom', ['launcher', 'rank'])
def test_ranks_that_are_asked_to_end_do_so_together_and_go_on(
    place, trained_by_two, tmp_path, whom
):
    script = [ROOT / 'tools/dist_train.sh', DEBUG, '2', '--work-dir', tmp_path]
    launcher = subprocess.Popen(
        ['bash', *map(str, script), '--cfg-options', *TWO],
        cwd=place,
        env=os.environ | ENVIRONMENT | {'PYTHON': sys.executable, 'MAX_RESTARTS': '2'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(tmp_path / 'iter_4.pth', launcher)
    (torchrun,) = ranks_of(launcher)
    if whom == 'launcher':
        os.kill(torchrun, signal.SIGTERM)
    else:
        ranks = subprocess.run(['pgrep', '-P', str(torchrun)], capture_output=True, text=True)
        os.kill(int(ranks.stdout.split()[1]), signal.SIGUSR1)
    status, out = finish(launcher)
    assert status == 75, out
    assert 'was preempted and has written a checkpoint. Continue with `--resume`' in out
    assert (tmp_path / 'last_checkpoint').is_file()
    if whom == 'launcher':  # the checkpoint is written in the same way
        status, out = finish(start_ranks(place, tmp_path, '--resume'))
        assert status == 0, out
        assert_same_end(last_checkpoint(trained_by_two), last_checkpoint(tmp_path))


def test_rank_that_dies_ends_the_others_and_the_run_restarts_by_itself(
    place, trained_by_two, tmp_path
):
    launcher = start_ranks(place, tmp_path, restarts=1)
    wait_for(tmp_path / 'iter_4.pth', launcher)
    os.kill(ranks_of(launcher)[1], signal.SIGKILL)  # and torchrun starts both again
    status, out = finish(launcher)
    assert status == 0, out
    assert 'Another process of this run has ended' in out
    assert 'Traceback (most recent call last):\n  File "/' not in out
    assert_same_end(last_checkpoint(trained_by_two), last_checkpoint(tmp_path))
