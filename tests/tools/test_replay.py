# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A run that goes wrong, and the command that its last message names, as a user types them."""

import json
import re
from pathlib import Path

import pytest

from .conftest import DEBUG

TOOL = 'analysis_tools/replay.py'


@pytest.fixture(scope='module')
def exploded(run_tool, tmp_path_factory):
    """A run whose learning rate is far too high, and the message it ended with."""
    work_dir = tmp_path_factory.mktemp('exploded')
    options = ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None']
    options += ['default_hooks.step_guard.max_bad_steps=3']
    ended = run_tool('train.py', DEBUG, '--work-dir', work_dir, '--cfg-options', *options)
    return work_dir, ended


@pytest.mark.slow
def test_diverging_run_ends_in_one_message(exploded):
    work_dir, ended = exploded
    assert ended.status == 1
    assert re.search(r'^error: 3 steps in a row, since iteration \d+, had losses', ended.err, re.M)
    assert 'Traceback' not in ended.err
    assert len(list(work_dir.glob('bad_steps/iter_*/rank_0.json'))) == 3


@pytest.mark.slow
def test_command_in_the_message_replays_from_the_first_bad_step(exploded, run_tool):
    _, ended = exploded
    record = re.search(r'`python tools/analysis_tools/replay.py (\S+)`', ended.err)[1]
    replayed = run_tool(TOOL, record)
    assert replayed.status == 0, replayed.err
    assert 'The first output that is not finite is that of ' in replayed.out
    assert 'The step is not finite here.' in replayed.out
    row = json.loads(Path(record, 'rank_0.json').read_text())
    assert len(row['batches'][0]['samples']) == 8


def test_missing_record_is_one_message(run_tool, tmp_path):
    ended = run_tool(TOOL, tmp_path / 'bad_steps/iter_1')
    assert ended.status == 1
    assert re.search("^error: There is no record '.*rank_0.json'; there: none", ended.err, re.M)
