# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checking files as a user does it, interruptions included."""

import json
import multiprocessing
import os
import runpy
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image

from .conftest import ROOT

TOOL = 'dataset_converters/verify.py'


@pytest.fixture
def pictures(tmp_path):
    """A folder with a good image and a bad one."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    Image.new('RGB', (6, 4)).save(folder / 'good.png')
    (folder / 'bad.jpg').write_bytes(b'')
    return folder


def files(report):
    return [json.loads(line)['file'] for line in report.read_text().splitlines()]


def test_summary_names_bad_files_which_a_list_of_good_ones_leaves_out(run_tool, pictures, tmp_path):
    report, good = tmp_path / 'report.jsonl', tmp_path / 'good.txt'
    ended = run_tool(
        TOOL, pictures, 'data/demo-debug/videos/val', '--out', report, '--list-good', good
    )
    assert ended.status == 0, ended.err
    assert ended.out.startswith('images: 1 ok, 1 bad\nvideos: 8 ok, 0 bad\n')
    assert f"1 x Can't read the image '{pictures}/bad.jpg': it is empty." in ended.out
    assert ended.err == 'checking 10 files\n'  # no bar where there is no terminal
    assert len(files(report)) == 10
    again = run_tool(TOOL, pictures, '--out', report, '--kind', 'image')
    assert again.status == 1  # a bad file, and no list without it
    assert again.err == 'checking 0 files; of 2 others the report has a verdict already\n'


def test_what_cannot_be_checked_ends_in_one_line(run_tool, pictures, tmp_path):
    (tmp_path / 'file').write_text('')
    faults = [
        ([tmp_path / 'nowhere', '--out', tmp_path / 'r'], 'There is no file or folder'),
        ([pictures, '--out', tmp_path / 'file/r'], "Can't write the report"),
        ([pictures, '--out', pictures / 'good.png'], 'is no report of this check'),
        ([pictures, '--out', tmp_path / 'r', '--num-workers', 0], '`num_workers` must be'),
    ]
    for arguments, message in faults:
        ended = run_tool(TOOL, *arguments)
        assert ended.status == 1
        assert ended.err.startswith('error: ') and ended.err.count('\n') == 1
        assert message in ended.err
        assert not ended.out


@pytest.mark.slow
def test_interrupted_check_continues_and_leaves_no_process(run_tool, pictures, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    Image.fromarray(large).save(pictures / '0.png')
    for number in range(1, 60):
        os.link(pictures / '0.png', pictures / f'{number}.png')
    report, err = tmp_path / 'report.jsonl', tmp_path / 'stderr'
    # A fork, as to import everything takes longer than the test.
    process = multiprocessing.get_context('fork').Process(
        target=run_here, args=([pictures, '--out', report, '--num-workers', 2], err)
    )
    process.start()
    while not report.exists() or report.stat().st_size < 300:
        time.sleep(0.01)
        assert process.exitcode is None
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert err.read_text().endswith('Interrupted. The same command continues where it was.\n')
    assert len(workers) == 2 and not any(os.path.exists(f'/proc/{pid}') for pid in workers)
    first = report.read_text()
    assert 2 <= len(files(report)) < 62
    ended = run_tool(TOOL, pictures, '--out', report)
    assert ended.status == 1, ended.err  # one file is bad
    assert report.read_text().startswith(first)
    assert sorted(files(report)) == sorted(str(path) for path in pictures.iterdir())


def run_here(arguments, err):
    """Runs the tool as its process would."""
    sys.stderr = open(err, 'w', buffering=1)  # noqa: SIM115
    sys.argv[:] = [TOOL, *map(str, arguments)]
    runpy.run_path(str(ROOT / 'tools' / TOOL), run_name='__main__')


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return file.read().split()


def test_help_has_examples(run_tool):
    ended = run_tool(TOOL, '--help')
    assert ended.status == 0
    assert 'vicmae verify data/images data/videos --out work_dirs/report.jsonl' in ended.out
