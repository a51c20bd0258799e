# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DEBUG = 'vicmae_vit-tiny-p8_debug'


def run_demo(work_dir: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, 'tools/demo.py', '--work-dir', work_dir, '--config', DEBUG, *options],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('demo') / 'run'
    result = run_demo(work_dir)
    assert result.returncode == 0, result.stderr
    return work_dir, result


def test_demo_reports_both_probes_of_pretrained_and_random_weights(demo):
    work_dir, result = demo
    figures = {
        name: json.loads((work_dir / f'knn_{name}.json').read_text())
        for name in ('pretrained', 'random_init')
    }
    for kind in ('images', 'videos'):
        line = next(n for n in result.stdout.splitlines() if n.startswith(f'kNN on {kind}:'))
        shown = [float(n) for n in re.findall(r'\d+\.\d', line)]
        expected = [figures[name][f'{kind}/knn_top1'] for name in figures]
        assert shown == pytest.approx([*expected, 25.0], abs=0.051)  # four classes


def test_demo_report_has_curves_pictures_and_neighbours_of_both_kinds(demo):
    work_dir, _ = demo
    page = (work_dir / 'report.html').read_text()
    # Of each kind three reconstructions, and three queries with five neighbours twice.
    assert page.count('data:image/png;base64,') == 2 * 3 * (3 + 1 + 5 + 5)
    for text in ('Reconstruction loss', 'Contrastive loss', 'Nearest neighbours', 'striped_disc'):
        assert text in page


def test_demo_that_is_complete_starts_nothing_and_says_where_the_report_is(demo):
    work_dir, _ = demo
    begun = os.times()
    result = run_demo(work_dir)
    ended = os.times()
    assert ended.children_user - begun.children_user < 3  # importing torch takes as long
    assert 'vicmae train' not in result.stdout
    assert f'complete: {work_dir / "report.html"}' in result.stdout


def test_demo_goes_on_with_what_is_missing(demo):
    work_dir, _ = demo
    (work_dir / 'report.html').unlink()
    (work_dir / 'knn_random_init.json').unlink()
    result = run_demo(work_dir)
    assert result.returncode == 0, result.stderr
    assert 'vicmae train' not in result.stdout
    assert result.stdout.count('$ vicmae test') == 1
    assert (work_dir / 'report.html').is_file()


def test_demo_leaves_a_folder_alone_that_is_none_of_its_own(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    result = run_demo(tmp_path, '--fresh')
    assert result.returncode == 1
    assert f"'{tmp_path}' has files, but none of a demo run" in result.stderr
    assert (tmp_path / 'thesis.tex').read_text() == 'years of work'


def test_demo_killed_in_training_goes_on_from_the_last_checkpoint(tmp_path):
    work_dir = tmp_path / 'run'
    command = [sys.executable, 'tools/demo.py', '--work-dir', work_dir, '--config', DEBUG]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **silent)
    deadline = time.monotonic() + 120
    while not (work_dir / 'last_checkpoint').exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    result = run_demo(work_dir)
    assert result.returncode == 0, result.stderr
    assert '--resume' in result.stdout
    assert re.search(r"Resumed '.*' after [01] epochs?, at iteration (4|8|12) of 16", result.stdout)
    assert (work_dir / 'report.html').is_file()
