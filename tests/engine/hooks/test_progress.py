# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os
import pty
import re
import subprocess
import sys

import pytest

from vicmae.testing import toy_runner

TRAINING = """
import sys
from vicmae.testing import toy_runner

runner = toy_runner(sys.argv[1], hooks=[dict(type='ProgressHook')], max_epochs=2, num_batches=4)
runner.train()
sys.exit(3 if runner.logger.handlers[0].stream not in (sys.stdout, sys.stderr) else 0)
"""


def run_on_terminal(*arguments):
    """Runs Python with a terminal as its output; returns what appeared there, and the exit status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, 'TERM': 'xterm', 'COLUMNS': '120', 'LINES': '40'},
    )
    os.close(theirs)
    chunks = []
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(ours)
    return b''.join(chunks).decode(), process.wait()


@pytest.fixture(scope='module')
def terminal_run(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    screen, status = run_on_terminal('-c', TRAINING, str(work_dir))
    assert status == 0, screen
    (log,) = work_dir.glob('*/*.log')
    return screen, log.read_text()


def test_terminal_shows_epoch_loss_count_rate_and_time_left(terminal_run):
    screen, _ = terminal_run
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', screen)
    assert re.search(r'epoch 2/2 +loss \d+\.\d{3} .*8/8 +\d+/s +left +\S+', text)


def test_terminal_gets_its_cursor_back(terminal_run):
    screen, _ = terminal_run
    hidden, shown = screen.rfind('\x1b[?25l'), screen.rfind('\x1b[?25h')
    assert 0 <= hidden < shown


def test_log_lines_are_complete_above_the_bar_and_plain_in_the_file(terminal_run):
    screen, log = terminal_run
    lines = re.findall(r'Epoch\(train\) +\[2\]\[4/4\].*', log)
    assert len(lines) == 1
    assert '\x1b' not in log and 'left' not in log
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', screen)
    assert len(re.findall(r'Epoch\(train\) +\[2\]\[4/4\]', text)) == 1


def test_nothing_is_drawn_without_a_terminal(tmp_path, capfd):
    runner = toy_runner(tmp_path, hooks=[dict(type='ProgressHook')])
    runner.train()
    out, err = capfd.readouterr()
    assert 'Epoch(train)' in out + err
    assert '\x1b' not in out + err
    assert 'left' not in out + err
