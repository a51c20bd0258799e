# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
import json
import threading

from rich.console import Console

from vicmae.data_tools.checking.file_check import Verdict
from vicmae.data_tools.packing.folder import Tally
from vicmae.data_tools.packing.progress import describe, pack_progress, summarize


def show(terminal, seconds):
    """What is shown of 100 files, of which 20 were there before, one each so many seconds."""
    out, now = io.StringIO(), seconds
    console = Console(
        file=out, force_terminal=terminal, width=100, highlight=False, get_time=lambda: now
    )
    before = threading.active_count()
    with pack_progress(100, console) as progress:
        assert threading.active_count() == before  # a fork must not meet a lock that a thread holds
        for number in range(20, 101):
            now += seconds
            progress(Tally(num_files=number, num_samples=number - number // 50))
    return out.getvalue()


def test_progress_lines_are_printed_without_a_terminal():
    lines = show(False, 10.0).splitlines()
    assert len(lines) == 1 + 80 // 3 + 1
    assert lines[0] == 'packing: 20/100 files'
    assert lines[1] == 'packing: 23/100 files, 0.1 files/s, 0:12:50 left'
    assert (
        lines[-1] == 'packing: 100/100 files, 0.1 files/s, 0:00:00 left, 2 bad, checking the shards'
    )


def test_bar_on_a_terminal_has_rate_and_time_left():
    shown = show(True, 0.05)
    assert '100/100 files, 20.0 files/s, 0:00:00 left, 2 bad, checking the shards' in shown
    assert 10 < shown.count(' left') < 60  # drawn five times a second


def test_summary_has_what_matters_and_the_command(tmp_path):
    errors = {f'/{n}.mp4': f"Can't open the video '/{n}.mp4'." for n in range(3)}
    errors['/x.mp4'] = "Can't read '/x.mp4': took longer."
    bad = [Verdict(path, 'video', False, error=error)._asdict() for path, error in errors.items()]
    (tmp_path / 'bad_files.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in bad))
    tally = Tally(104, 100, 2, 6000, 500, 5_000_000, 4_000_000, 61.2)
    assert summarize(tmp_path, 'video', tally).splitlines() == [
        f'{tmp_path}: 100 of 104 videos, 2 shard(s), 5.0 MB as 4.0 MB, in 0:01:01',
        'frames per video: 60.0; one key frame for 12.0 of them',
        f'4 left out, see {tmp_path}/bad_files.jsonl:',
        "  3 x such as: Can't open the video '/0.mp4'.",
        "  1 x Can't read '/x.mp4': took longer.",
        'Train on them:',
        '  vicmae train CONFIG --cfg-options '
        'train_dataloader.dataset.sources.videos.type=VideoShards '
        f'train_dataloader.dataset.sources.videos.shards={tmp_path}',
    ]
    text = summarize(tmp_path, 'image', Tally(5, 5, 1, 5, 5, 1000, 2000, 0.1))
    assert 'frames' not in text and 'left out' not in text
    assert 'sources.images.type=ImageShards' in text


def test_estimate_names_its_sample():
    estimate = Tally(1000, bytes_in=10**9, bytes_out=2 * 10**8, seconds=3600.0)
    expected = '1000 videos, 1.0 GB, would become about 200.0 MB in 1:00:00 (32 were tried'
    assert describe(estimate, 32, 0, 'video') == f'{expected})'
    assert describe(estimate, 32, 2, 'video') == f'{expected}, 2 of them bad)'
