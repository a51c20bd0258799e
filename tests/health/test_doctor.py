# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae doctor`, in this environment and in one where nothing is installed."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vicmae.environment import VIDEO_READERS
from vicmae.health import doctor
from vicmae.health.doctor import (
    GIB,
    Finding,
    check_video,
    fix_import,
    judge_limit,
    judge_no_gpu,
    run_doctor,
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
    assert f'PyTorch version: {torch.__version__}' in result.stdout
    assert re.search(r'ok +pyav +reads H\.264: 8 frames, version \d', result.stdout)
    assert re.search(rf'ok +torch +{re.escape(torch.__version__)}', result.stdout)


def test_doctor_works_where_nothing_is_installed_and_says_what_is_missing():
    # Without the module `site` there are no site-packages.
    result = run_vicmae('doctor', options=['-S'])
    assert result.returncode == 1
    assert 'Training cannot work here' in result.stdout
    assert re.search('FAULT +packages +required packages are not installed', result.stdout)
    assert f'fix: {sys.executable} -m pip install torch torchvision onedl-mmengine' in result.stdout
    assert result.stderr == ''


def test_doctor_survives_packages_that_are_half_installed(tmp_path):
    # An empty folder is what an interrupted uninstall leaves; an empty module lacks everything.
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torch.py').touch()
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, '-S', '-m', 'vicmae', 'doctor']
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert 'not installed (found: no torchvision, onedl-mmengine' in result.stdout
    assert re.search(
        r'FAULT +gpus +the check failed: ModuleNotFoundError.*torch\.utils', result.stdout
    )
    assert 'Training cannot work here' in result.stdout


def test_each_library_that_reads_videos_is_tried():
    findings = {finding.what: finding for finding in check_video()}
    assert findings['pyav'].status == 'ok'
    assert {*VIDEO_READERS} < {*findings}
    assert all(f.status == 'ok' or f.fix for f in findings.values())


def test_import_is_refused_where_the_doctor_works():
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-S', '-c', 'import vicmae']
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert 'EnvironmentFault' in result.stderr


@pytest.mark.parametrize(('least', 'unit'), [(GIB, '1.0 GiB'), (4096, '4096')])
def test_limits_are_warned_of_below_what_training_wants(least, unit):
    assert judge_limit('x', least, least, 'y', 'do it') == Finding('ok', 'x', unit)
    finding = judge_limit('x', least - 1, least, 'workers may fail', 'do it')
    assert (finding.status, finding.fix) == ('warning', 'do it')
    assert finding.found.endswith(': workers may fail')


def test_no_gpu_is_a_fact_unless_there_is_a_driver():
    assert judge_no_gpu(torch, driver=None).status == 'note'
    finding = judge_no_gpu(torch, driver='535.104')
    assert finding.status == 'warning'
    assert 'driver 535.104' in finding.found and torch.__version__ in finding.found


def test_missing_desktop_library_is_not_fixed_by_reinstalling_the_package_that_failed():
    error = ImportError('libGL.so.1: cannot open shared object file: No such file or directory')
    fix = fix_import('onedl-mmengine', error, blame_faults=False)
    assert 'apt-get install libgl1' in fix
    assert 'opencv-python-headless' in fix


def test_columns_are_aligned_whatever_the_status():
    statuses = ('ok', 'note', 'warning', 'FAULT')
    lines = [str(Finding(status, 'x', 'FOUND', 'do it')).split('\n') for status in statuses]
    assert {line.index('FOUND') for line, _ in lines} == {27}
    assert {line.index('fix: do it') for _, line in lines} == {27}


@pytest.mark.parametrize('status', ['warning', 'FAULT'])
def test_exit_status_is_that_of_the_worst_finding(monkeypatch, status):
    monkeypatch.setattr(doctor, 'check_gpus', lambda: iter([Finding(status, 'GPU 0', 'broken')]))
    for check in ('check_packages', 'check_video'):
        monkeypatch.setattr(doctor, check, lambda: iter(()))
    report = io.StringIO()
    assert run_doctor(report) == (1 if status == 'FAULT' else 0)
    verdict = 'cannot work here: 1 fault' if status == 'FAULT' else 'can work here: 0 fault'
    assert report.getvalue().splitlines()[-1].startswith(f'Training {verdict}')
