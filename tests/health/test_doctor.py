# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`python -m vicmae`, in this environment and in one where nothing is installed."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vicmae import __version__
from vicmae.health.doctor import (
    GIB,
    Finding,
    examine_video,
    judge_free_disk,
    judge_no_gpu,
    judge_open_files,
    judge_shared_memory,
    mend_import,
    run_doctor,
    write_finding,
)

ROOT = Path(__file__).parents[2]


def run_vicmae(*arguments, options=()):
    """Run `python -m vicmae` from the checkout."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, *options, '-m', 'vicmae', *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_doctor_finds_that_training_can_work_here():
    result = run_vicmae('doctor')
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'FAULT' not in result.stdout
    assert re.search(r'ok +pyav +reads H\.264: 8 frames, version \d', result.stdout)
    assert re.search(rf'ok +torch +{re.escape(torch.__version__)}', result.stdout)
    assert '\033' not in result.stdout


def test_doctor_works_where_nothing_is_installed_and_says_what_is_missing():
    # Without the module `site` there are no site-packages.
    result = run_vicmae('doctor', options=['-S'])
    assert result.returncode == 1
    assert 'Training cannot work here' in result.stdout
    for name in ('torch', 'torchvision', 'onedl-mmengine', 'numpy', 'av'):
        assert re.search(rf'FAULT +{name} +not installed', result.stdout), name
    assert (
        f'mend: {sys.executable} -m pip install torch torchvision onedl-mmengine' in result.stdout
    )
    assert result.stderr == ''


def test_doctor_survives_packages_that_are_half_installed(tmp_path):
    # An empty folder is what an interrupted uninstall leaves; an empty module lacks everything.
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torch.py').touch()
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, '-S', '-m', 'vicmae', 'doctor']
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.search('FAULT +torchvision +not installed', result.stdout)
    assert re.search('FAULT +GPUs +looking ended with AttributeError', result.stdout)
    assert 'Training cannot work here' in result.stdout


def test_each_library_that_reads_videos_is_tried():
    findings = {finding.what: finding for finding in examine_video()}
    assert findings['pyav'].status == 'ok'
    assert {'decord', 'torchcodec', 'FFmpeg'} < {*findings}
    assert all(f.status == 'ok' or f.mend for f in findings.values())


def test_import_is_refused_where_the_doctor_works():
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-S', '-c', 'import vicmae']
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert 'EnvironmentFault' in result.stderr


def test_unknown_command_is_refused_with_status_2():
    result = run_vicmae('docter')
    assert result.returncode == 2
    assert "invalid choice: 'docter'" in result.stderr
    assert 'doctor' in result.stderr


def test_version_and_help_are_printed():
    assert run_vicmae('--version').stdout == f'vicmae {__version__}\n'
    assert 'doctor' in run_vicmae('--help').stdout


@pytest.mark.parametrize(
    ('judge', 'enough', 'too_little'),
    [
        (judge_shared_memory, GIB, GIB - 1),
        (judge_open_files, 4096, 4095),
        (judge_free_disk, 5 * GIB, 5 * GIB - 1),
    ],
)
def test_limits_are_warned_of_below_what_training_wants(judge, enough, too_little):
    assert judge(enough).status == 'ok'
    assert judge(too_little).status == 'warning'
    assert judge(too_little).mend


def test_no_gpu_is_a_fact_unless_there_is_a_driver():
    assert judge_no_gpu(torch, driver=None).status == 'note'
    finding = judge_no_gpu(torch, driver='535.104')
    assert finding.status == 'warning'
    assert 'driver 535.104' in finding.found and torch.__version__ in finding.found


def test_missing_desktop_library_is_not_mended_by_reinstalling_the_package_that_failed():
    error = ImportError('libGL.so.1: cannot open shared object file: No such file or directory')
    mend = mend_import('onedl-mmengine', error, blame_faults=False)
    assert 'apt-get install libgl1' in mend
    assert 'opencv-python-headless' in mend


def test_columns_are_aligned_whatever_the_status():
    statuses = ('ok', 'note', 'warning', 'FAULT')
    lines = [write_finding(Finding(status, 'x', 'FOUND', 'do it')) for status in statuses]
    assert {line.split('\n')[0].index('FOUND') for line in lines} == {29}
    assert {line.split('\n')[1].index('mend: do it') for line in lines} == {29}


def test_report_is_coloured_on_a_terminal_only():
    finding = Finding('FAULT', 'x', 'found')
    assert '\033[31;1mFAULT' in write_finding(finding, coloured=True)
    assert '\033' not in write_finding(finding)


def test_exit_status_is_that_of_the_report():
    report = io.StringIO()
    assert run_doctor(report) == 0
    assert report.getvalue().splitlines()[-1].startswith('Training can work here')
