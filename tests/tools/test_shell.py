# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The shell scripts: usage, what they start, and two real processes without a GPU."""

import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from vicmae.apis import load_config
from vicmae.registry import MODELS

from .conftest import DEBUG, ENVIRONMENT, ROOT, assert_same_weights, figures

TOOLS = ROOT / 'tools'
SCRIPTS = sorted(TOOLS.glob('*.sh'))
STARTED_BY_USERS = [path for path in SCRIPTS if path.name != 'launch.sh']
names = [path.name for path in STARTED_BY_USERS]


def bash(*argv, cwd=None, **env):
    environment = {**os.environ, **ENVIRONMENT, 'PYTHON': sys.executable, **env}
    return subprocess.run(
        ['bash', *map(str, argv)], env=environment, cwd=cwd, capture_output=True, text=True
    )


@pytest.fixture
def fake_srun(tmp_path):
    """A PATH on which srun says what it was called with."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    srun.chmod(0o755)
    return dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python3')


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_script_is_valid_shell(path):
    assert bash('-n', path).returncode == 0


@pytest.mark.parametrize('path', STARTED_BY_USERS, ids=names)
def test_script_without_arguments_shows_its_usage(path):
    ended = bash(path)
    assert ended.returncode == 2
    assert f'{path.name} ' in ended.stderr
    assert 'CONFIG' in ended.stderr
    assert not ended.stdout


@pytest.mark.parametrize('count', ['0', 'two', '-1', '1.5'])
def test_invalid_number_of_processes_is_refused(count):
    ended = bash(TOOLS / 'dist_train.sh', DEBUG, count)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: the number of processes must be a whole number from 1 on, got '{count}'.\n"
    )


def test_slurm_train_passes_its_arguments_to_srun(fake_srun):
    script = TOOLS / 'slurm_train.sh'
    ended = bash(script, 'part', 'my job', 'a b.py', 'work', '--seed', '3', **fake_srun)
    words = ended.stdout.splitlines()
    assert words[:2] == ['-p', 'part']
    assert {'--job-name=my job', '--gres=gpu:8', '--ntasks=8', '--ntasks-per-node=8'} <= set(words)
    assert '--cpus-per-task=5' in words
    assert words[words.index('python3') :] == [
        *('python3', '-u', str(TOOLS / 'train.py'), 'a b.py', '--work-dir', 'work'),
        *('--seed', '3', '--launcher', 'slurm'),
    ]


def test_slurm_script_reads_nodes_and_tasks_from_the_environment(fake_srun):
    shape = dict(GPUS='2', CPUS_PER_TASK='9', SRUN_ARGS='--qos=low --time=1:00')
    ended = bash(TOOLS / 'slurm_train.sh', 'p', 'j', 'c.py', 'w', **fake_srun, **shape)
    words = set(ended.stdout.splitlines())
    assert {'--ntasks=2', '--gres=gpu:2', '--ntasks-per-node=2', '--cpus-per-task=9'} <= words
    assert {'--qos=low', '--time=1:00'} <= words


def test_slurm_test_passes_its_arguments_to_srun(fake_srun):
    ended = bash(TOOLS / 'slurm_test.sh', 'p', 'j', 'c.py', 'x y.pth', '--out', 'o', **fake_srun)
    words = ended.stdout.splitlines()
    assert words[words.index('python3') :] == [
        *('python3', '-u', str(TOOLS / 'test.py'), 'c.py', 'x y.pth'),
        *('--out', 'o', '--launcher', 'slurm'),
    ]


def test_nodes_and_port_are_passed_to_torchrun(tmp_path):
    fake = tmp_path / 'python'
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    fake.chmod(0o755)
    cluster = dict(NNODES='3', NODE_RANK='1', MASTER_ADDR='head', PORT='1234', PYTHON=str(fake))
    config = tmp_path / 'a b.py'
    config.touch()
    words = bash(TOOLS / 'dist_train.sh', config, '4', '--seed', '3', **cluster).stdout.splitlines()
    assert words == [
        *('-m', 'torch.distributed.run', '--nnodes=3', '--node_rank=1'),
        *('--master_addr=head', '--master_port=1234', '--nproc_per_node=4'),
        *(str(TOOLS / 'train.py'), str(config), '--seed', '3', '--launcher', 'pytorch'),
    ]


def test_restarts_are_passed_to_torchrun(tmp_path):
    fake = tmp_path / 'python'
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    (tmp_path / 'c.py').touch()
    ended = bash(TOOLS / 'dist_train.sh', tmp_path / 'c.py', 2, PYTHON=str(fake), MAX_RESTARTS='3')
    assert '--standalone --max-restarts=3 --nproc_per_node=2' in ended.stdout


@pytest.fixture
def preempted_twice(tmp_path):
    """A PATH on which srun is preempted twice, and scontrol says what it is asked for."""
    srun = tmp_path / 'srun'
    srun.write_text(
        '#!/bin/sh\nfor word in "$@"; do echo "$word"; done\necho end of srun\n'
        'cd "$(dirname "$0")"; echo x >> calls\n[ "$(wc -l < calls)" -gt 2 ] || exit 75\n'
    )
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho "scontrol $*"\n')
    for path in (srun, scontrol):
        path.chmod(0o755)
    return dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python3')


def test_preempted_job_is_requeued(preempted_twice):
    script = TOOLS / 'slurm_train.sh'
    ended = bash(script, 'p', 'j', 'c.py', 'w', **preempted_twice, SLURM_JOB_ID='123')
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == 'scontrol requeue 123'
    assert ended.stdout.count('end of srun') == 1


def test_preempted_run_outside_of_a_job_restarts_with_resume(preempted_twice):
    ended = bash(TOOLS / 'slurm_train.sh', 'p', 'j', 'c.py', 'w', **preempted_twice)
    assert ended.returncode == 0
    runs = ended.stdout.split('end of srun')[:-1]
    assert ['--resume' in run.split() for run in runs] == [False, True, True]
    assert ended.stderr.count('Preempted: asking for another allocation.') == 2


@pytest.mark.parametrize('status', [75, 137, 143, 1])
def test_job_with_killed_tasks_is_requeued(tmp_path, status):
    """srun ends the other tasks once one has ended, and with their status: the file says what it was."""
    work_dir = tmp_path / 'my work'
    for name, code in [
        ('srun', f'mkdir -p "$VICMAE_PREEMPTED.."; touch "$VICMAE_PREEMPTED"; exit {status}'),
        ('scontrol', 'echo "scontrol $*"'),
    ]:
        (tmp_path / name).write_text(f'#!/bin/sh\n{code}\n')
        (tmp_path / name).chmod(0o755)
    work_dir.mkdir()
    environment = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python3', SLURM_JOB_ID='7')
    ended = bash(TOOLS / 'slurm_train.sh', 'p', 'j', 'c.py', work_dir, **environment)
    assert (ended.returncode, ended.stdout) == (0, 'scontrol requeue 7\n')
    assert not (work_dir / '.preempted').exists()


def test_other_failures_of_slurm_end_with_their_status(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nexit 9\n')
    srun.chmod(0o755)
    environment = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python3')
    assert bash(TOOLS / 'slurm_train.sh', 'p', 'j', 'c.py', 'w', **environment).returncode == 9


def test_exit_status_of_preemption_is_that_of_the_scripts():
    from vicmae.errors import Preempted

    assert f'PREEMPTED={Preempted.exit_status}\n' in (TOOLS / 'launch.sh').read_text()


def test_missing_config_is_reported_once_before_any_process_starts():
    ended = bash(TOOLS / 'dist_train.sh', 'no.py', '2')
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: There is no config 'no.py'.")
    assert ended.stderr.count('\n') == 1


def train_with_two(place, work_dir, *options):
    """Batches of 4 on each instead of 8 on one: the same samples, crops, frames and masks in every step."""
    begin = [TOOLS / 'dist_train.sh', DEBUG.stem, 2, '--work-dir', work_dir]
    ended = bash(*begin, '--cfg-options', 'train_dataloader.batch_size=4', *options, cwd=place)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def assert_same_end(one, two):
    one, two = (torch.load(folder / 'iter_16.pth', weights_only=True) for folder in (one, two))
    assert_same_weights(one['state_dict'], two['state_dict'])


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(trained, place, tmp_path):
    log = train_with_two(place, tmp_path)
    assert '8 batches of 4 an epoch on each of 2 processes' in log
    assert log.count('Training on 48 images') == 1  # rank 0 alone logs
    assert_same_end(trained, tmp_path)


@pytest.mark.slow
def test_each_video_counts_once_on_uneven_processes(run_tool, place, tmp_path):
    config = ROOT / 'configs/vicmae/benchmarks/vicmae_vit-tiny-p8_finetune-video_debug.py'
    model = MODELS.build(load_config(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    videos = tmp_path / 'videos'
    shutil.copytree(place / 'data/demo-debug/videos/val', videos / 'val')
    broken = sorted(videos.glob('val/*/*'))[1]
    broken.write_bytes(b'no video')
    found = []
    for processes in (1, 3):  # 8 files, one of them broken: 3, 3 and 2, and one again
        said = tmp_path / f'{processes}.pkl'
        options = [
            config,
            tmp_path / 'a.pth',
            '--work-dir',
            tmp_path / str(processes),
            '--out',
            said,
        ]
        changes = f'test_dataloader.dataset.data_root={videos}'
        options += ['--out-item', 'pred', '--cfg-options', changes]
        options += ['test_dataloader.max_bad_fraction=1.0']
        if processes == 1:
            ended = run_tool('test.py', *options)
            assert ended.status == 0, ended.err
        else:
            config_, checkpoint, *options = options
            ended = bash(
                TOOLS / 'dist_test.sh', config_, checkpoint, processes, *options, cwd=place
            )
            assert ended.returncode == 0, ended.stderr
        rows = {row['path']: row for row in pickle.loads(said.read_bytes())}
        assert len(rows) == len(pickle.loads(said.read_bytes())) == 7
        table = (tmp_path / str(processes) / 'predictions.csv').read_text().splitlines()
        assert len(table) == 1 + 7
        found.append((rows, sorted(table)))
    assert str(broken) not in found[0][0]
    (one, table_of_one), (three, table_of_three) = found
    assert table_of_one == table_of_three
    for path, row in one.items():
        torch.testing.assert_close(row['view_scores'], three[path]['view_scores'])
        assert row['view_scores'].shape == (6, 4)
        torch.testing.assert_close(row['pred_score'], row['view_scores'].mean(dim=0))


@pytest.mark.slow
def test_sharded_model_gives_the_weights_and_metrics_of_one_process(
    run_tool, trained, place, tmp_path
):
    sharded = 'model_wrapper_cfg.type=FullyShard'
    assert 'images/knn_top1' in train_with_two(place, tmp_path, sharded)
    assert_same_end(trained, tmp_path)
    results = [tmp_path / 'one.json', tmp_path / 'two.json']
    options = [DEBUG, tmp_path / 'iter_16.pth', '--work-dir', tmp_path / 'tests', '--out']
    ended = run_tool('test.py', *options, results[0])
    assert ended.status == 0, ended.err
    config, checkpoint, *options = options
    sharded = ['--cfg-options', sharded]
    ended = bash(
        *(TOOLS / 'dist_test.sh', config, checkpoint, 2, *options, results[1], *sharded), cwd=place
    )
    assert ended.returncode == 0, ended.stderr
    assert figures(results[1]) == pytest.approx(figures(results[0]), rel=1e-4)
