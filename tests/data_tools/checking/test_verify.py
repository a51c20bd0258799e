# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Many files: found, checked in isolation, reported, and summed up."""

import csv
import faulthandler
import io
import json
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from vicmae.data_tools.checking import verify as checking
from vicmae.data_tools.checking.check_list import CheckReport
from vicmae.data_tools.checking.file_check import FileCheck, Verdict
from vicmae.data_tools.checking.verify import check_files, find_files
from vicmae.datasets import ImageFolder
from vicmae.errors import ConfigError, DataError, EnvironmentFault

from ...child import alone, limit_files

ODD = Path(__file__).parents[3] / '../shared/data/odd_files'
needs_odd_files = pytest.mark.skipif(
    not ODD.is_dir(), reason=f'needs the odd files in {ODD.name}, which are optional'
)


def verify(*args, **kwargs):
    """The text of a check."""
    return checking.verify(*args, **kwargs).text


@pytest.fixture
def pictures(tmp_path):
    """A folder with three good images, two bad ones, and two files of other kinds."""
    root = tmp_path / 'pictures'
    for name in ('a/1.png', 'a/2.jpg', 'b/3.JPEG'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (6, 4)).save(root / name)
    (root / 'b/4.png').write_bytes((root / 'a/1.png').read_bytes()[:40])
    (root / 'b/5.jpg').write_bytes(b'')
    (root / 'b/readme.md').write_text('')
    (root / 'labels').write_text('')
    return root


def rows(path):
    """The report by file; each line is a JSON object with exactly these keys."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert all(list(line) == list(Verdict._fields) for line in lines)
    found = {line['file']: line for line in lines}
    assert len(found) == len(lines)
    return found


def oks(path, root):
    return {os.path.relpath(file, root): row['ok'] for file, row in rows(path).items()}


# ------------------------------------------------------------------------- what is found
def test_folder_is_searched_for_images_and_videos(pictures, demo_data):
    wanted = find_files([str(pictures), str(demo_data)])
    videos = {str(path) for path in demo_data.rglob('*.mp4')}
    assert {str(path) for path in pictures.glob('*/[1-5].*')} | videos <= set(wanted.labels)
    assert wanted.passed_over['.md'] == wanted.passed_over['no extension'] == 1
    assert set(find_files([str(demo_data)], kind='video').labels) == videos


def test_named_file_is_checked_once_with_any_extension(pictures):
    path, picture = str(pictures / 'b/readme.md'), str(pictures / 'a/1.png')
    assert list(find_files([path]).labels) == [path]
    assert len(find_files([picture, str(pictures), picture]).labels) == 5


def test_list_is_relative_to_its_folder_or_the_data_root(tmp_path):
    path = tmp_path / 'train.txt'
    path.write_text('# path label\na b.jpg 3\n\nc.mp4\nd.strange 7\n/e.strange\ntwo words\n')
    assert find_files([str(path)]).labels == {
        str(tmp_path / 'a b.jpg'): 3,
        str(tmp_path / 'c.mp4'): -1,
        str(tmp_path / 'd.strange'): 7,
        '/e.strange': -1,
        str(tmp_path / 'two words'): -1,
    }
    assert 'root/c.mp4' in find_files([str(path)], data_root='root').labels


def test_path_that_does_not_exist_is_refused_and_one_in_a_list_is_a_bad_file(tmp_path):
    report = tmp_path / 'report.jsonl'
    with pytest.raises(DataError, match='no file or folder .*nowhere'):
        verify([str(tmp_path / 'nowhere')], str(report))
    assert not report.exists()
    (tmp_path / 'list.txt').write_text('a.jpg\nb.mp4\n')
    verify([str(tmp_path / 'list.txt')], str(report))
    assert oks(report, tmp_path) == {'a.jpg': False, 'b.mp4': False}


# ------------------------------------------------------------------------- odd files from the wild
@needs_odd_files
def test_verdicts_on_unusual_files_are_as_expected(tmp_path):
    text = (ODD / 'MANIFEST.csv').read_text(encoding='utf-8')
    manifest = {row['file']: row for row in csv.DictReader(text.splitlines())}
    for kind in ('image', 'video'):
        # As a list, since pictures that are to be read as videos are not taken from a folder.
        files = [file for file, row in manifest.items() if row['read_as'] == kind]
        (tmp_path / 'list.txt').write_text(''.join(f'{file}\n' for file in files))
        verify(
            [str(tmp_path / 'list.txt')],
            str(tmp_path / 'report.jsonl'),
            kind=kind,
            data_root=str(ODD),
            quick=True,
        )
    found = rows(tmp_path / 'report.jsonl')
    for file, row in manifest.items():
        verdict = found[str(ODD / file)]
        assert verdict['kind'] == row['read_as']
        assert verdict['ok'] == (row['expected'] != 'error'), verdict
        assert bool(verdict['error']) != verdict['ok']
        assert bool(verdict['frames'] and verdict['width'] and verdict['height']) == verdict['ok']


# ------------------------------------------------------------------------- isolation
class Fatal(FileCheck):
    """Does to its process what the name of a file says."""

    def __call__(self, path):
        faulthandler.disable()  # pytest's would write of the crash
        if 'abort' in path:
            faulthandler.disable()  # pytest's prints all stacks
            os.abort()
        if 'hang' in path:
            time.sleep(60)
        if 'bug' in path:
            raise KeyError('bug')
        if 'fault' in path:
            raise EnvironmentFault('vicmae cannot read videos here.')
        os.write(2, b'a message of a C library')
        return Verdict(path, 'image', True, 1, 2, 3)


def test_file_that_kills_or_blocks_its_process_does_not_affect_others(capfd):
    files = ['1.png', 'abort.mp4', '2.png', 'hang.mp4', 'bug.png', '3.png']
    verdicts = {v.file: v for v in check_files(files, Fatal(), num_workers=2, seconds=0.5)}
    assert {file: verdict.error for file, verdict in verdicts.items() if not verdict.ok} == {
        'abort.mp4': "Can't read 'abort.mp4': killed its process (SIGABRT).",
        'hang.mp4': "Can't read 'hang.mp4': took longer than 0.5 s.",
        'bug.png': "Can't read 'bug.png': KeyError: 'bug'.",
    }
    assert [verdicts[file].kind for file in files] == ['image', 'video'] * 2 + ['image'] * 2
    assert capfd.readouterr().err == ''


def test_process_with_threads_can_check_files(pictures):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.cvtColor(np.zeros((2000, 2000, 3), np.uint8), cv2.COLOR_BGR2RGB)
    time.sleep(0.3)  # now the threads that did this wait for more; a fork has none of them
    files = [str(pictures / 'a/1.png'), str(pictures / 'a/2.jpg')]
    verdicts = list(check_files(files, FileCheck(), num_workers=1, seconds=5))
    cv2.setNumThreads(before)
    assert [verdict.error for verdict in verdicts] == [None, None]


def test_fault_of_the_environment_is_not_blamed_on_a_file():
    with pytest.raises(EnvironmentFault, match='cannot read videos here'):
        list(check_files(['fault.mp4'], Fatal(), num_workers=1))


# ------------------------------------------------------------------------- the report
def test_report_has_a_line_for_each_file(pictures, tmp_path):
    report = tmp_path / 'new folder/report.jsonl'
    said = verify([str(pictures)], str(report), num_workers=2)
    good, bad = ['a/1.png', 'a/2.jpg', 'b/3.JPEG'], ['b/4.png', 'b/5.jpg']
    assert oks(report, pictures) == dict.fromkeys(good, True) | dict.fromkeys(bad, False)
    path = str(pictures / 'a/1.png')
    size, mtime = os.path.getsize(path), os.path.getmtime(path)
    good = Verdict(path, 'image', True, 1, 6, 4, size=size, mtime=mtime, quick=False)
    assert rows(report)[path] == good._asdict()
    lines = said.splitlines()
    assert lines[0] == 'images: 3 ok, 2 bad'
    assert f"  1 x Can't read the image '{pictures}/b/5.jpg': it is empty." in lines
    assert lines[-1] == '2 other files in folders were passed over: 1 .md, 1 no extension'


def test_check_continues_where_it_was(pictures, tmp_path):
    report = tmp_path / 'report.jsonl'
    verify([str(pictures)], str(report))
    lines = report.read_text().splitlines(keepends=True)
    # What is kept is not checked again: here it says otherwise.
    kept = lines[0].replace('"ok": true', '"ok": false'), lines[1]
    report.write_text(''.join(kept) + lines[2][:30])
    console = Console(file=io.StringIO(), width=200)
    said = verify([str(pictures)], str(report), console=console)
    assert report.read_text().startswith(''.join(kept))
    assert len(rows(report)) == 5
    assert 'checking 3 files; of 2 others the report has' in console.file.getvalue()
    assert re.match('images: [23] ok, [23] bad', said)
    report.write_text(lines[0] + 'rubbish\n')
    with pytest.raises(DataError, match='its line 2 is'):
        verify([str(pictures)], str(report))
    verify([str(pictures)], str(report), fresh=True)
    assert sorted(report.read_text().splitlines(keepends=True)) == sorted(lines)


def test_file_that_changed_is_checked_again(pictures, tmp_path):
    report, good = tmp_path / 'report.jsonl', tmp_path / 'good.txt'
    verify([str(pictures)], str(report))
    fixed, broken = pictures / 'b/4.png', pictures / 'a/1.png'
    fixed.write_bytes(broken.read_bytes())
    changed = broken.stat()
    broken.write_bytes(bytes(changed.st_size))
    os.utime(broken, ns=(changed.st_atime_ns, changed.st_mtime_ns + 10**7))
    (pictures / 'b/5.jpg').unlink()
    console = Console(file=io.StringIO(), width=200)
    said = verify(
        [str(pictures), str(tmp_path / 'pictures/a/2.jpg')],
        str(report),
        console=console,
        list_good=str(good),
    )
    assert 'checking 2 files; of 2 others' in console.file.getvalue()
    assert said.startswith('images: 3 ok, 1 bad')
    assert {Path(line).name for line in good.read_text().splitlines()} == {
        '2.jpg', '3.JPEG', '4.png',
    }  # fmt: skip
    assert len(report.read_text().splitlines()) == 7  # the last on a file holds


def test_file_is_known_by_its_absolute_path(pictures, tmp_path, monkeypatch):
    report, good = tmp_path / 'report.jsonl', tmp_path / 'good.txt'
    verify([str(pictures)], str(report))
    before = report.read_text()
    monkeypatch.chdir(tmp_path)
    said = verify(['pictures', 'pictures/../pictures/a'], str(report), list_good=str(good))
    assert report.read_text() == before
    assert said.startswith('images: 3 ok, 2 bad')
    assert len(good.read_text().splitlines()) == 3


def test_quick_and_full_check_do_not_share_a_report(pictures, tmp_path):
    report = tmp_path / 'report.jsonl'
    verify([str(pictures)], str(report), quick=True)
    before = report.read_text()
    with pytest.raises(DataError, match='was made with --quick, and this check is without it'):
        verify([str(pictures)], str(report))
    assert report.read_text() == before
    verify([str(pictures)], str(report), fresh=True)
    with pytest.raises(DataError, match='was made without --quick, and this check is with it'):
        verify([str(pictures)], str(report), quick=True)


def test_report_may_hold_other_files_which_the_summary_leaves_out(pictures, tmp_path):
    report = str(tmp_path / 'report.jsonl')
    verify([str(pictures / 'b')], report)
    said = verify([str(pictures / 'a')], report)
    assert said == 'images: 2 ok, 0 bad'
    assert len(rows(report)) == 5


def test_file_that_was_read_as_another_kind_is_checked_again(tmp_path):
    path, report = str(tmp_path / 'a.gif'), tmp_path / 'report.jsonl'
    Image.new('RGB', (16, 16)).save(path)
    verify([path], str(report))
    verify([path], str(report), kind='video')
    kinds = [json.loads(line)['kind'] for line in report.read_text().splitlines()]
    assert kinds == ['image', 'video']


@pytest.mark.parametrize('content', ['a.jpg 3\nb.jpg 4\n', 'a.jpg', '[1]\n', '{"file": "a"}\n'])
@pytest.mark.parametrize('fresh', [False, True])
def test_file_that_is_not_a_report_is_left_alone(pictures, tmp_path, content, fresh):
    path = tmp_path / 'list.txt'
    path.write_text(content)
    with pytest.raises(DataError, match='is no report of this check: its line 1 is'):
        verify([str(pictures)], str(path), fresh=fresh)
    assert path.read_text() == content


def test_report_that_cannot_be_written_is_an_error(pictures, tmp_path):
    (tmp_path / 'file').write_text('')
    for path in (tmp_path, tmp_path / 'file/report.jsonl'):
        with pytest.raises(DataError, match="Can't write the report"):
            verify([str(pictures)], str(path))


@alone
def test_disk_that_is_full_is_an_error(tmp_path):
    with CheckReport(str(tmp_path / 'report.jsonl')) as report:
        report.add(Verdict('a', 'image', True))
        limit_files(100)
        with pytest.raises(DataError, match="Can't write the report .*File too large"):
            report.add(Verdict('b', 'image', True))
        limit_files()


def test_report_is_written_by_one_process_at_a_time(pictures, tmp_path):
    path = str(tmp_path / 'report.jsonl')
    with CheckReport(path), pytest.raises(DataError, match='Another process is writing'):
        verify([str(pictures)], path)


def test_name_that_is_not_unicode_survives_the_report(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b'/na\xefve.png')
    Image.new('RGB', (2, 2)).save(name)
    report, good = str(tmp_path / 'report.jsonl'), str(tmp_path / 'good.txt')
    said = verify([name], report, list_good=good)
    with CheckReport(report) as lines:
        assert [verdict.file for verdict in lines] == [name]
    assert 'good.txt is not written' in said
    assert (
        f'1 file that is ok is in no list, such as {name!r}: a list is UTF-8 text, and this' in said
    )


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('two\nlines.png', "a line of a list can't hold a newline"),
        ('picture', 'a source of images takes names that end in .jpg '),
        ('1.png 2 ', 'a source of images takes names that end in .jpg '),
    ],
)
def test_name_that_a_list_cannot_contain_is_reported(tmp_path, name, reason):
    path = str(tmp_path / name)
    for file in (path, str(tmp_path / 'good.png')):
        Image.new('RGB', (2, 2)).save(file, 'PNG')
    said = verify([path, str(tmp_path)], str(tmp_path / 'r'), list_good=str(tmp_path / 'list.txt'))
    assert f'1 file that is ok is in no list, such as {path!r}: {reason}' in said
    assert (tmp_path / 'list.txt').read_text() == f'{tmp_path}/good.png\n'


def test_wrong_options_are_refused(pictures, tmp_path):
    for name in ('num_workers', 'seconds'):
        with pytest.raises(ConfigError, match=f'`{name}` must be'):
            verify([str(pictures)], str(tmp_path / 'r'), **{name: 0})


# ------------------------------------------------------------------------- what is said
def test_reasons_are_grouped_the_most_frequent_one_first(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        data, 'JPEG'
    )
    for number in range(3):
        (tmp_path / f'{number}.jpg').write_bytes(data.getvalue()[: 2000 + 100 * number])
    (tmp_path / 'b.png').write_bytes(b'')
    for text in ('<html>', '"quoted"'):
        (tmp_path / f'{len(text)}.gif').write_text(text)
    lines = verify([str(tmp_path)], str(tmp_path / 'r')).splitlines()
    assert lines[0] == 'images: 0 ok, 6 bad'
    assert re.match(r"  3 x such as: Can't read the image '.*\d.jpg': .*truncated", lines[1])
    assert re.match(r"  2 x such as: Can't read the image '.*gif': its format is unknown", lines[2])
    assert lines[3] == f"  1 x Can't read the image '{tmp_path}/b.png': it is empty."


def test_bar_is_drawn_only_on_a_terminal(pictures, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert verify([str(tmp_path / 'empty')], str(tmp_path / 'r')) == 'no images or videos found'
    drawn = {}
    for terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=100)
        verify([str(pictures)], str(tmp_path / f'{terminal}'), console=console)
        drawn[terminal] = file.getvalue()
    assert re.search(r'5/5.*2 bad', drawn[True])
    assert drawn[False] == 'checking 5 files\n'


def test_list_of_good_files_is_readable_by_a_source(pictures, tmp_path, monkeypatch):
    (pictures / 'b/list.txt').write_text('../a/1.png 4\n4.png 5\n3.JPEG 6\n')
    monkeypatch.chdir(pictures)
    said = verify(['b/list.txt'], str(tmp_path / 'r'), list_good='good.txt')
    assert said.endswith('good.txt: 2 images that are ok')
    good = str(pictures / 'good.txt')
    source = ImageFolder(data_root='elsewhere', ann_file=good, with_labels=True)
    infos = [source.get_data_info(index) for index in range(len(source))]
    labels = {os.path.relpath(info['path'], pictures): info['gt_label'] for info in infos}
    assert labels == {'a/1.png': 4, 'b/3.JPEG': 6}


def test_video_that_can_be_read_in_part_is_ok_with_a_note_and_not_listed(demo_data, tmp_path):
    good, torn = sorted(demo_data.rglob('*.mp4'))[0], tmp_path / 'torn.mp4'
    content = bytearray(good.read_bytes())
    start = content.index(b'mdat') + (len(content) - content.index(b'mdat')) // 2
    content[start : start + 3000] = bytes(3000)
    torn.write_bytes(content)
    said = verify([str(good), str(torn)], str(tmp_path / 'r'), list_good=str(tmp_path / 'good.txt'))
    found = rows(tmp_path / 'r')
    assert found[str(good)]['note'] is None
    row = found[str(torn)]
    total = found[str(good)]['frames']
    note = f'{row["frames"]} of {total} frames can be decoded'
    assert (row['ok'], row['error'], row['note']) == (True, None, note)
    assert f'  1 of those that are ok can be read in part, such as {str(torn)!r}: {note}' in said
    assert '\n1 that can be read in part are in no list' in said
    assert (tmp_path / 'good.txt').read_text() == f'{good}\n'


def test_good_images_and_good_videos_get_a_list_each(pictures, demo_data, tmp_path):
    video = sorted(demo_data.rglob('*.mp4'))[0]
    paths = [str(pictures), str(video)]
    verify(paths, str(tmp_path / 'r'), quick=True, list_good=str(tmp_path / 'good.txt'))
    assert (tmp_path / 'good_videos.txt').read_text() == f'{video}\n'
    assert len((tmp_path / 'good_images.txt').read_text().splitlines()) == 3
    assert not (tmp_path / 'good.txt').exists()
