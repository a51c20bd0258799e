# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packing as a user does it: a try, a run that is interrupted, another one, training on the result."""

import contextlib
import json
import multiprocessing
import os
import re
import runpy
import shlex
import signal
import sys
import time

import pytest

from vicmae.datasets import ImageShards, VideoShards

from .conftest import DEBUG, ROOT

TOOL = 'dataset_converters/pack.py'


@pytest.mark.slow
def test_packed_demo_data_train_with_the_command_that_is_printed(run_tool, place, tmp_path):
    options = []
    for kind, arguments in [
        ('image', ['--short-side', 32, '--shuffle-seed', 1]),
        ('video', ['--video-as', 'jpeg', '--fps', 6]),
    ]:
        out = tmp_path / kind
        ended = run_tool(TOOL, f'data/demo-debug/{kind}s/train', out, *arguments)
        assert ended.status == 0, ended.err
        count = len(list((place / f'data/demo-debug/{kind}s/train').rglob('*.*')))
        assert f'{count} of {count} {kind}s, 1 shard(s), ' in ended.out
        printed = re.search(r'vicmae train CONFIG --cfg-options (.*)\n', ended.out)[1]
        options += shlex.split(printed)
    short = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.samples_per_epoch=8']
    arguments = ['--work-dir', tmp_path / 'run', '--no-validate', '--cfg-options', *options, *short]
    ended = run_tool('train.py', DEBUG, *arguments)
    assert ended.status == 0, ended.err
    assert (tmp_path / 'run/last_checkpoint').is_file()


def test_dry_run_says_what_it_would_take_and_writes_nothing(run_tool, tmp_path):
    ended = run_tool(TOOL, 'data/demo-debug/videos/val', tmp_path / 'out', '--dry-run')
    assert ended.status == 0, ended.err
    number = r'[\d.]+ [kM]?B(ytes)?'
    text = rf'8 videos, {number}, would become about {number} in 0:00:\d\d \(8 were tried\)\n'
    assert re.fullmatch(text, ended.out)
    assert not (tmp_path / 'out').exists()


def test_bad_files_are_left_out_and_said(run_tool, place, tmp_path):
    source = place / 'data/demo-debug/videos/val'
    clips = sorted(source.rglob('*.mp4'))[:2]
    (tmp_path / 'text.mp4').write_text('no video')
    lines = [f'{clips[0]} 0', f'{tmp_path / "text.mp4"} 0', f'{clips[1]} 1']
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    ended = run_tool(TOOL, tmp_path / 'list.txt', tmp_path / 'out', '--gop', 4, '--num-workers', 1)
    assert ended.status == 0, ended.err
    assert '2 of 3 videos' in ended.out
    assert 'one key frame for 4.0 of them' in ended.out
    assert f'1 left out, see {tmp_path}/out/bad_files.jsonl:\n  1 x ' in ended.out
    packed = VideoShards(str(tmp_path / 'out'))
    assert [packed.get_data_info(n)['gt_label'] for n in range(2)] == [0, 1]
    assert ended.err.splitlines()[-1].startswith('packing: 3/3 files, ')


def test_nothing_packed_is_a_failure(run_tool, tmp_path):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/text.mp4').write_text('no video')
    ended = run_tool(TOOL, tmp_path / 'in', tmp_path / 'out')
    assert ended.status == 1
    assert f'1 left out, see {tmp_path}/out/bad_files.jsonl:\n  1 x ' in ended.out
    assert ended.err.endswith('error: Nothing was packed: none of the 1 files can be read.\n')


def test_users_faults_end_in_one_line(run_tool, tmp_path):
    images = 'data/demo-debug/images/val'
    for arguments, message in [
        (['no/where', tmp_path / 'out'], "There is no folder or list 'no/where'"),
        (['data/demo-debug', tmp_path / 'out'], '`--kind image`'),
        ([images, tmp_path / 'out', '--gop', 12], '`--gop` does nothing for images'),
        ([images, tmp_path / 'out', '--short-side', 1], 'at least 16 pixels, got 1'),
        ([images, tmp_path / 'out', '--num-workers', 0], '`num_workers` must be more than 0'),
        ([images, ROOT / 'README.md'], 'is a file'),
        ([images, ROOT / 'tests'], 'was not packed here'),
        (['data/demo-debug/videos', tmp_path / 'out', '--preset', 'fst'], '`preset` must be one'),
    ]:
        ended = run_tool(TOOL, *arguments)
        assert ended.status == 1
        assert ended.err.startswith('error: ') and ended.err.count('\n') == 1
        assert message in ended.err
        assert not ended.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--short-sied', 32], 'arguments: --short-sied 32. Did you mean --short-side?'),
        (['--video-as', 'mpeg'], "invalid choice: 'mpeg'"),
        (['--max-shard-size', '1 apple'], "expected a size such as 500M or 1G, got '1 apple'"),
    ],
)
def test_wrong_options_are_refused_with_what_may_be_meant(run_tool, arguments, message):
    ended = run_tool(TOOL, 'data/demo-debug/images/val', 'out', *arguments)
    assert ended.status == 2
    assert message in ended.err


def test_sizes_may_have_units():
    parse_size = runpy.run_path(str(ROOT / 'tools' / TOOL))['parse_size']
    sizes = [parse_size(text) for text in ('500', '2K', '1.5M', '1g', '2TB')]
    assert sizes == [500, 2000, 1_500_000, 10**9, 2 * 10**12]


def run(arguments, log):
    """Becomes the tool."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = open(2, 'w', closefd=False)  # noqa: SIM115  # not what pytest put there
    sys.argv = [TOOL, *map(str, arguments)]
    with contextlib.suppress(KeyError):
        del os.environ['VICMAE_TRACEBACK']
    runpy.run_path(str(ROOT / 'tools' / TOOL), run_name='__main__')


@pytest.mark.slow
def test_ctrl_c_is_clean_and_the_same_command_continues(demo_data, tmp_path):
    out = tmp_path / 'out'
    arguments = [demo_data / 'images/train', out, '--samples-per-shard', 1, '--num-workers', 2]
    context = multiprocessing.get_context('fork')
    process = context.Process(target=run, args=(arguments, tmp_path / 'first'))
    process.start()
    deadline = time.monotonic() + 30
    while not list(out.glob('*.tar')):
        assert process.is_alive() and time.monotonic() < deadline, (tmp_path / 'first').read_text()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    said = (tmp_path / 'first').read_text()
    assert said.endswith('Interrupted. The same command continues where it was.\n')
    assert 'Traceback' not in said
    num_packed = json.loads((out / 'pack.json').read_text())['packed']['num_files']
    assert not list(out.glob('*.unfinished'))
    process = context.Process(target=run, args=(arguments, tmp_path / 'second'))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert f'packing: {num_packed}/48 files' in (tmp_path / 'second').read_text()
    assert len(ImageShards(str(out))) == 48


def test_help_has_examples_and_is_quick(run_tool):
    ended = run_tool(TOOL, '--help')
    assert ended.status == 0
    assert 'pack.py data/videos data/packed/frames --video-as jpeg --fps 5' in ended.out
