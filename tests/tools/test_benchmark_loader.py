# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The speed of a config's data, as a user measures it."""

import json
import re

import pytest

from .conftest import DEBUG

TOOL = 'analysis_tools/benchmark_loader.py'
QUICK = ['--seconds', 0.3, '--batch-size', 4, '--num-workers', 1]
IMAGES = 'train_dataloader.dataset.sources.images'
VIDEOS = 'train_dataloader.dataset.sources.videos'


@pytest.mark.slow
def test_rates_of_each_source_and_of_the_mixture_are_printed(run_tool):
    speeds = ['--device-pairs-per-second', 300, 12000]
    ended = run_tool(TOOL, DEBUG, *QUICK, '--no-trial', *speeds)
    assert ended.status == 0, ended.err
    for start in ('images (48): ', 'videos (16): ', 'All sources as training mixes them: '):
        assert re.search(rf'^{re.escape(start)}[\d,]+ samples/s', ended.out, re.MULTILINE)
    assert len(re.findall(r'takes 300/s: \d+, 12,000/s: [\d,]+ \(here are', ended.out)) == 2
    assert ended.out.count('What would help most: ') == 2
    for stage in ('open', 'decode', 'crop and flip', 'colour', 'collate'):
        assert re.search(rf'^  {stage} +\d+\.\d\d ms +\d+%', ended.out, re.MULTILINE), stage


def test_json_of_one_source_has_all_values(run_tool):
    options = ['--source', 'videos', '--json']
    ended = run_tool(TOOL, DEBUG, *QUICK, *options)
    assert ended.status == 0, ended.err
    read = json.loads(ended.out)
    assert read['mixture'] is None
    (videos,) = read['sources']
    assert (videos['source'], videos['samples'], videos['num_workers']) == ('videos', 16, 1)
    assert videos['samples_per_second'] > 0
    assert videos['frames_wanted'] == pytest.approx(2, abs=0.5)
    assert videos['frames_decoded'] >= videos['frames_wanted']
    assert videos['bytes_handed'] > 2 * 3 * 64 * 64
    whole = sum(videos['milliseconds'].values())
    assert whole >= 0.99 * 1e3 / videos['samples_per_second_per_worker']
    assert all(advice['factor'] > 1 for advice in videos['advice'])


@pytest.mark.slow
def test_bad_file_is_skipped_and_json_stays_valid(run_tool, place, tmp_path):
    for n, path in enumerate(sorted((place / 'data/demo-debug/images/train').rglob('*.jpg'))[:3]):
        (tmp_path / f'{n}.jpg').write_bytes(path.read_bytes() if n else b'<html>404</html>')
    options = ['--source', 'images', '--json', '--cfg-options', f'{IMAGES}.data_root={tmp_path}']
    ended = run_tool(TOOL, DEBUG, *QUICK, *options)
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)['sources'][0]['samples'] == 3
    assert "Bad file '" in ended.err


@pytest.mark.slow
def test_data_without_workers_are_measured_in_one_process(run_tool):
    options = ['--seconds', 0.3, '--batch-size', 4, '--num-workers', 0, '--no-trial']
    ended = run_tool(TOOL, DEBUG, *options, '--source', 'images')
    assert ended.status == 0, ended.err
    assert re.search(r'images \(48\): [\d,]+ samples/s, in one process; ', ended.out)


@pytest.mark.parametrize('seconds', [0, -1, 'nan'])
def test_zero_seconds_to_measure_are_refused(run_tool, seconds):
    ended = run_tool(TOOL, DEBUG, f'--seconds={seconds}')
    assert ended.status == 2
    assert f'--seconds must be more than 0, got {seconds}' in ended.err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--source', 'clips'], "`--source` must be one of images, videos, got 'clips'"),
        (['--source', 'videos', '--cfg-options', f'{VIDEOS}=None'], 'must be one of images, got'),
        (['--cfg-options', 'train_dataloader=None'], 'no `train_dataloader`: no data to look at'),
        (['--cfg-options', f'{VIDEOS}.data_root=/no'], "`data_root` .* got '/no', which does not"),
    ],
)
def test_error_of_a_user_ends_in_one_line(run_tool, options, message):
    ended = run_tool(TOOL, DEBUG, *QUICK, '--no-trial', *options)
    assert ended.status == 1
    assert re.search(rf'^error: .*{message}', ended.err, re.MULTILINE), ended.err
    assert 'Traceback' not in ended.err
