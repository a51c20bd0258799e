# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
import re
from dataclasses import replace

import pytest

from vicmae.data_tools.speed.stages import Stages
from vicmae.data_tools.speed.text import SourceSpeed, speed_text
from vicmae.data_tools.speed.trials import Advice

STAGES = Stages(
    seconds={'open': 0.010, 'seek': 0.020, 'decode': 0.002, 'colour': 0.0, 'collate': 0.001},
    floor=0.002,
    wanted=2,
    decoded=140,
    key_interval=250,
    num_files=20,
    bytes_read=1_250_000,
    bytes_handed=301_056,
)
PACK = Advice('decoding takes 67%', 'pack it', 3.14, 'measured on 4 videos')
COLOUR = Advice('colour takes 20%', 'move it', 1.25, 'the time without it')


def speed(rate=50.0, num_workers=2, advice=(PACK, COLOUR)):
    return SourceSpeed('videos', 1200, rate, num_workers, STAGES, advice)


def test_what_loading_does_not_account_for_is_waiting():
    assert speed().per_worker == 25
    assert speed().waiting == pytest.approx(0.040 - 0.033)
    assert speed(rate=500).waiting == 0
    assert speed(rate=25, num_workers=0).per_worker == 25


def test_text_has_the_figures():
    text = speed_text(speed(), [500, 90])
    assert text.startswith(
        'videos (1,200): 50 samples/s, 25 per worker; 40.00 ms of a worker each:'
    )
    for line in (
        '  seek                 20.00 ms   50%  ############\n',
        '  transfer, waiting     7.00 ms   18%  ####\n',
        "Floor: decoding 2 frames alone takes 2.00 ms, 5% of a worker's time. "
        '140 frames are decoded on the way, as key frames lie 250 apart.',
        'A sample reads 1.25 MB and hands over 301.1 kB.',
        'Workers for a device that takes 500/s: 20, 90/s: 4 ',
        'What would help most: decoding takes 67%: pack it, loads 3.1x faster (measured on 4 videos).\n',
        'Also: colour takes 20%: move it, loads 1.2x faster (the time without it).',
    ):
        assert line in text
    assert 'colour   ' not in text  # which takes no time here


@pytest.mark.parametrize(('rate', 'words'), [(50, 'more workers'), (20, 'cores, as most of')])
def test_text_without_advice_tells_waiting_from_work(rate, words):
    assert f'What would help most: {words}' in speed_text(speed(rate, advice=()), [500])


@pytest.mark.parametrize('rate', [20, 50, 100, 500])
def test_rows_add_up_to_a_total_that_is_printed(rate):
    header, *lines = speed_text(speed(rate), [500]).splitlines()
    rows = [float(ms) for ms in re.findall(r'^  \D+([\d.]+) ms +\d+%', '\n'.join(lines), re.M)]
    totals = [float(text) for text in re.findall(r'([\d.]+) ms', header)]
    assert sum(rows) == pytest.approx(totals[-1], abs=0.03)
    assert ('Measured apart, loading one takes' in header) == (len(totals) == 2) == (rate > 60)


def test_too_few_files_are_said_in_the_place_of_advice():
    few = replace(speed(advice=()), stages=replace(STAGES, num_files=3))
    assert (
        'What would help most: not tried, as 3 files that can be read tell too little (8 are needed).'
        in speed_text(few, [500])
    )


def test_figures_survive_json():
    read = json.loads(json.dumps(speed().as_dict()))
    assert sum(read['milliseconds'].values()) == pytest.approx(1e3 / 25)
    assert read['samples_per_second_per_worker'] == 25
    assert read['advice'][0]['factor'] == 3.14
