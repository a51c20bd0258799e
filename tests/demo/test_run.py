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

from vicmae.demo.run import Demo
from vicmae.errors import ConfigError

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_demo_report_has_curves_pictures_and_neighbours_of_both_kinds(demo):
    work_dir, _ = demo
    page = (work_dir / 'report.html').read_text()
    # Of each kind three reconstructions, and three queries with five neighbours twice.
    assert page.count('data:image/png;base64,') == 2 * 3 * (3 + 1 + 5 + 5)
    for text in ('Reconstruction loss', 'Contrastive loss', 'Nearest neighbours', 'striped_disc'):
        assert text in page


@pytest.mark.slow
def test_demo_that_is_complete_starts_nothing_and_says_where_the_report_is(demo):
    work_dir, _ = demo
    begun = os.times()
    result = run_demo(work_dir)
    ended = os.times()
    assert ended.children_user - begun.children_user < 3  # importing torch takes as long
    assert 'vicmae train' not in result.stdout
    assert f'complete: {work_dir / "report.html"}' in result.stdout


@pytest.mark.slow
def test_demo_continues_with_what_is_missing(demo):
    work_dir, _ = demo
    (work_dir / 'report.html').unlink()
    (work_dir / 'knn_random_init.json').unlink()
    result = run_demo(work_dir)
    assert result.returncode == 0, result.stderr
    assert 'vicmae train' not in result.stdout
    assert result.stdout.count('$ vicmae test') == 1
    assert (work_dir / 'report.html').is_file()


@pytest.mark.slow
def test_demo_leaves_a_folder_alone_that_is_none_of_its_own(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    result = run_demo(tmp_path, '--fresh')
    assert result.returncode == 1
    assert f"'{tmp_path}' has files, but none of a demo or a training run" in result.stderr
    assert (tmp_path / 'thesis.tex').read_text() == 'years of work'


@pytest.mark.slow
def test_demo_killed_in_training_resumes_from_the_last_checkpoint(tmp_path):
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


OWN = """
_base_ = '{root}/configs/vicmae/{debug}.py'
demo_data = None
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(data_root='photos'),
            videos=dict(data_root='{videos}'),
        )
    )
)
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
"""


@pytest.mark.slow
def test_report_of_another_run_is_about_its_own_data(demo, demo_data, tmp_path):
    (tmp_path / 'photos').symlink_to(demo_data / 'images/train')
    videos = demo_data / 'videos/train'
    (tmp_path / 'own.py').write_text(OWN.format(root=ROOT, debug=DEBUG, videos=videos))

    def run(*words):
        return subprocess.run(
            [sys.executable, '-m', 'vicmae', *words],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            capture_output=True,
            text=True,
        )

    trained = run('train', 'own.py', '--work-dir', 'run')
    assert trained.returncode == 0, trained.stderr
    weights = {path: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')}
    ended = run('demo', '--work-dir', 'run')
    assert ended.returncode == 0, ended.stderr
    assert 'kNN is not measured: the config has no labelled test data.' in ended.stdout
    page = (tmp_path / 'run/report.html').read_text()
    shorter = min(str(videos), os.path.relpath(videos, tmp_path), key=len)
    assert f'<title>ViC-MAE on photos and {shorter}' in page
    assert 'demo data' not in page and 'vicmae demo --work-dir run' in page
    assert page.count('data:image/png;base64,') == 2 * 3 * 3  # reconstructions of training data
    assert {path: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')} == weights


@pytest.fixture
def own_demo(tmp_path, monkeypatch):
    """A demo of an own config with an own base, in which each command only leaves a file."""
    (tmp_path / 'base.py').write_text(
        f"_base_ = 'vicmae::vicmae/{DEBUG}.py'\ntest_dataloader = None\n"
    )
    (tmp_path / 'own.py').write_text("_base_ = 'base.py'\n")

    def train(demo, command, *_):
        (demo.work_dir / f'iter_{demo.seed}.pth').touch()
        (demo.work_dir / 'last_checkpoint').write_text(f'iter_{demo.seed}.pth')

    monkeypatch.setattr(Demo, '_call', train)
    monkeypatch.setattr(Demo, '_evaluate_both', lambda demo: None)
    monkeypatch.setattr(Demo, '_write_report', lambda demo: demo.report.touch())

    def run(**options):
        Demo(tmp_path / 'run', config=str(tmp_path / 'own.py'), **options).run()

    return run


def test_run_of_another_seed_or_config_is_moved_aside(own_demo, tmp_path):
    own_demo(seed=1)
    own_demo(seed=2)
    assert (tmp_path / 'run.old-1/iter_1.pth').exists()
    assert [path.name for path in (tmp_path / 'run').glob('iter_*')] == ['iter_2.pth']
    own_demo(seed=2)
    assert not (tmp_path / 'run.old-2').exists()
    with open(tmp_path / 'base.py', 'a') as base:
        base.write('num_frames = 4\n')
    own_demo(seed=2)
    assert (tmp_path / 'run.old-2/iter_2.pth').exists()


def test_fresh_demo_deletes_its_earlier_run(own_demo, tmp_path):
    own_demo(seed=1)
    own_demo(seed=2, fresh=True)
    assert [path.name for path in tmp_path.glob('run*/iter_*')] == ['iter_2.pth']


def test_config_of_a_run_is_that_of_its_last_training(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('iter_8.pth')
    trained = 'train_dataloader = dict(batch_size=8)'
    texts = [trained, trained, 'train_dataloader = None', 'test_dataloader = dict()']
    for number, text in enumerate(texts):
        config = tmp_path / f'2026010{number}_000000/vis_data/config.py'
        config.parent.mkdir(parents=True)
        config.write_text(text)
    assert Demo(tmp_path).config == tmp_path / '20260101_000000/vis_data/config.py'


def test_run_of_another_command_is_not_started_over(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('iter_8.pth')
    with pytest.raises(
        ConfigError, match='a training run without its config. Name it with `--config`'
    ):
        Demo(tmp_path)
    with pytest.raises(ConfigError, match='holds a training run, which `--fresh` would delete'):
        Demo(tmp_path, config=DEBUG, fresh=True).run()
    assert (tmp_path / 'last_checkpoint').exists()
