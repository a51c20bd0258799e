# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The ledger of bad files: what is written, what is read again, and when a run is stopped."""

import json
import os
import re

import numpy as np
import pytest

from vicmae.datasets.bad_files import BadFile, BadFileLedger
from vicmae.errors import DataError


def bad(number=0, **fields):
    return BadFile(f'clips/{number}.mp4', 'video', 'No frame decodes.', 3, number, **fields)


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def test_line_has_file_kind_reason_and_when(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    BadFileLedger(path, max_fraction=1).add(bad(7, fatal=True))
    assert rows_of(path) == [
        dict(
            ok=False,
            rank=0,
            file='clips/7.mp4',
            kind='video',
            error='No frame decodes.',
            epoch=3,
            index=7,
            visits=1,
            fatal=True,
        )
    ]


def test_file_is_written_once_also_after_a_restart(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    for _ in range(2):
        ledger = BadFileLedger(path, max_fraction=1)
        for number in (1, 2, 1):
            ledger.add(bad(number))
        assert ledger.num_bad == 3
    assert [row['index'] for row in rows_of(path)] == [1, 2]


def test_ledger_remembers_which_files_killed_a_process(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    ledger = BadFileLedger(path, max_fraction=1)
    ledger.add(bad(1))
    ledger.add(bad(2, fatal=True))
    assert BadFileLedger(path).fatal_files == {'clips/2.mp4'}


def test_truncated_line_is_skipped_and_not_continued(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    BadFileLedger(path, max_fraction=1).add(bad(1, fatal=True))
    with path.open('a') as file:
        file.write('{"file": "clips/2.m')
    ledger = BadFileLedger(path, max_fraction=1)
    assert ledger.fatal_files == {'clips/1.mp4'}
    ledger.add(bad(3))
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])['index'] == 3


def test_file_that_another_rank_listed_is_not_listed_again(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    first, second = (BadFileLedger(path, max_fraction=1) for _ in range(2))
    first.add(bad(1))
    second.add(bad(1))
    second.add(bad(2))
    first.add(bad(2))
    assert [row['index'] for row in rows_of(path)] == [1, 2]
    assert first.num_bad == second.num_bad == 2


def test_fatal_files_of_other_ranks_are_known_after_a_refresh(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    first, second = (BadFileLedger(path, max_fraction=1) for _ in range(2))
    first.add(bad(1, fatal=True))
    with path.open('a') as file:
        file.write('{"file": "half a li')
    second.refresh()
    assert second.fatal_files == {'clips/1.mp4'}
    with path.open('a') as file:
        file.write('ne", "fatal": true}\n')
    second.refresh()
    assert second.fatal_files == {'clips/1.mp4', 'half a line'}


def test_bad_file_that_hangs_later_is_listed_as_fatal_too(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    ledger = BadFileLedger(path, max_fraction=1)
    for fatal in (False, True, True, False):
        ledger.add(bad(1, fatal=fatal))
    assert [row['fatal'] for row in rows_of(path)] == [False, True]
    assert BadFileLedger(path).fatal_files == {'clips/1.mp4'}


def test_list_may_be_shortened_while_it_is_in_use(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    ledger = BadFileLedger(path, max_fraction=1)
    ledger.add(bad(1))
    path.write_text('')
    BadFileLedger(path, max_fraction=1).add(BadFile('b', 'image', 'odd', 0, 0, fatal=True))
    ledger.refresh()
    assert ledger.fatal_files == {'b'}


def test_names_that_are_no_utf8_are_written(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    name = os.fsdecode(b'caf\xe9.jpg')
    BadFileLedger(path, max_fraction=1).add(BadFile(name, 'image', 'odd', 0, 0))
    assert path.read_bytes().endswith(b'\n')
    assert name in BadFileLedger(path)._listed


@pytest.mark.parametrize(
    ('max_fraction', 'samples', 'allowed'),
    [(0.01, 0, 10), (0.01, 5000, 50), (0.5, 0, 500), (0, 0, 0)],
)
def test_run_stops_above_the_maximal_share(max_fraction, samples, allowed):
    ledger = BadFileLedger(max_fraction=max_fraction)
    ledger.num_samples = samples
    for number in range(allowed):
        ledger.add(bad(number))
    with pytest.raises(DataError, match=f'{allowed + 1} of .* samples could not be read so far'):
        ledger.add(bad(999))


@pytest.mark.parametrize('max_fraction', [0.01, 0.2])
def test_three_bad_files_are_never_too_many(max_fraction):
    ledger = BadFileLedger(max_fraction=max_fraction, judged_from=9)
    for number in (0, 1, 2, 2, 1, 0):
        ledger.add(bad(number))
    with pytest.raises(DataError, match='7 of 7 samples could not be read so far'):
        ledger.add(bad(3))


@pytest.mark.parametrize(
    ('samples', 'value'), [(0, '1'), (2900, '0.02'), (100_000, '0.002'), (100, '0.5')]
)
def test_message_suggests_a_sufficient_value(samples, value):
    option = 'val_dataloader.max_bad_fraction'
    strict = BadFileLedger(max_fraction=0.0001, option=option)
    lenient = BadFileLedger(max_fraction=float(value))
    strict.num_samples = lenient.num_samples = samples
    count = max(30, samples // 1000)
    strict.num_bad = lenient.num_bad = count - 4
    for number in range(3):
        strict.add(bad(number))
        lenient.add(bad(number))
    with pytest.raises(DataError, match=rf'allow more: `--cfg-options {option}={value}`\.$'):
        strict.add(bad(3))
    lenient.add(bad(3))


@pytest.mark.parametrize('share', [0.03, 0.1, 0.2, 0.4])
def test_printed_value_is_enough_for_the_rest_of_the_data(share):
    for seed in range(10):
        is_bad = np.random.default_rng(seed).random(500) < share
        option = _option_of_stopped_run(is_bad)
        again = BadFileLedger(max_fraction=float(option.rpartition('=')[2]), judged_from=50)
        _read_all(again, is_bad)


def _option_of_stopped_run(is_bad):
    with pytest.raises(DataError) as caught:
        _read_all(BadFileLedger(max_fraction=0.01, judged_from=50), is_bad)
    return re.search(r'--cfg-options (.*)`', str(caught.value))[1]


def _read_all(ledger, is_bad):
    for number, this_is_bad in enumerate(is_bad):
        if this_is_bad:
            ledger.add(bad(number))
        else:
            ledger.num_samples += 1


def test_message_names_the_last_file_the_list_and_what_to_do(tmp_path):
    ledger = BadFileLedger(tmp_path / 'bad_files.jsonl', max_fraction=0)
    with pytest.raises(DataError) as caught:
        ledger.add(bad(4))
    for part in (
        'clips/4.mp4',
        'No frame decodes',
        'bad_files.jsonl',
        'vicmae verify',
        '`max_bad_fraction`',
    ):
        assert part in str(caught.value)


def test_any_share_can_be_allowed():
    ledger = BadFileLedger(max_fraction=1)
    for number in range(2000):
        ledger.add(bad(number))
    with pytest.raises(ValueError, match=r'share of the samples in \[0, 1\], got 5'):
        BadFileLedger(max_fraction=5)


def test_list_that_cannot_be_written_does_not_stop_the_run(tmp_path, capsys):
    ledger = BadFileLedger(tmp_path / 'gone' / 'bad_files.jsonl', max_fraction=1)
    ledger.add(bad())
    assert ledger.num_bad == 1


def test_warnings_do_not_flood_the_log(tmp_path, caplog):
    from vicmae.datasets import bad_files

    said = []
    ledger = BadFileLedger(tmp_path / 'bad_files.jsonl', max_fraction=1)
    original, bad_files.warn = bad_files.warn, said.append
    try:
        for number in range(50):
            ledger.add(bad(number))
    finally:
        bad_files.warn = original
    assert len(said) == 21
    assert 'Further bad files are only listed' in said[-1]
