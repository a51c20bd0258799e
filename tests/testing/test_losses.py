# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The losses of training are those that are checked in."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vicmae.config.paths import project_file
from vicmae.testing.losses import TOLERANCE, compare_losses, describe_losses, record_losses

RECORDS = project_file('tests/data/losses')
TOOL = project_file('tools/analysis_tools/compare_losses.py')

on_cpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason='the losses are those of a CPU: compare_losses.py hides GPUs'
)


def recorded(name):
    """What is checked in."""
    return json.loads((RECORDS / f'{name}.json').read_text(encoding='utf-8'))


def differs_nowhere(name, steps):
    """Trains the first steps in the current folder, and compares them."""
    record = recorded(name)
    before = record['losses'][:steps]
    assert len(before) == steps
    after = record_losses(project_file(record['config']), steps)
    assert compare_losses(before, after, TOLERANCE) is None, describe_losses(
        before, after, TOLERANCE
    )


@on_cpu
def test_debug_run_has_the_stored_losses(demo_data, monkeypatch):
    monkeypatch.chdir(demo_data.parents[1])
    differs_nowhere('debug', 16)


def test_first_loss_that_differs_is_named_with_its_step():
    before = recorded('debug')['losses']
    after = copy.deepcopy(before)
    after[11]['loss'] += 1  # a consequence
    after[4]['loss_contrastive'] *= 1.01
    first = compare_losses(before, after, TOLERANCE)
    assert (first.step, first.name) == (5, 'loss_contrastive')
    assert first.relative == pytest.approx(0.01, rel=0.02)
    assert 'step 5 has another `loss_contrastive`' in describe_losses(before, after, TOLERANCE)


def test_rounding_is_reported_but_no_difference():
    before = recorded('debug')['losses']
    after = copy.deepcopy(before)
    after[15]['loss'] *= 1 + TOLERANCE / 2
    assert compare_losses(before, after, TOLERANCE) is None
    assert '`loss` in step 16' in describe_losses(before, after, TOLERANCE)
    assert compare_losses(before, after, tolerance=0).step == 16
    assert 'equal, bit for bit' in describe_losses(before, before, TOLERANCE)


@pytest.mark.parametrize('change', ['nan', 'missing loss', 'missing step'])
def test_loss_that_is_nan_or_missing_differs(change):
    before = recorded('debug')['losses']
    after = copy.deepcopy(before)
    if change == 'nan':
        after[2]['loss'] = float('nan')
    elif change == 'missing loss':
        del after[2]['loss']
    else:
        del after[2:]
    assert compare_losses(before, after, TOLERANCE)[:2] == (3, 'loss')


def test_new_loss_is_no_difference():
    before = recorded('debug')['losses']
    after = [dict(row, embedding_std=0.1) for row in before]
    assert 'bit for bit' in describe_losses(before, after, TOLERANCE)


@pytest.mark.slow
def test_tool_compares_with_another_checkout_and_with_changed_losses(demo_data, tmp_path):
    """In a copy of the project whose initial weights are drawn otherwise."""
    root = project_file('.')
    for name in ('vicmae', 'model-index.yml'):
        (tmp_path / name).symlink_to(Path(root, name).resolve())
    tool = [sys.executable, str(TOOL), 'debug', '--steps', '2']
    place = demo_data.parents[1]
    config = tmp_path / recorded('debug')['config']
    config.parent.mkdir(parents=True)
    config.write_text(
        f"_base_ = '{root / recorded('debug')['config']}'\nrandomness = dict(seed=1)\n"
    )
    other = subprocess.run(
        [*tool, '--against', tmp_path], cwd=place, capture_output=True, text=True
    )
    assert other.returncode == 1
    assert other.stdout.startswith('debug: step 1 has another `loss`: ')
