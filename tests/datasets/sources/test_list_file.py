# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Lists of many lines: the same lines as by reading them all, in little memory, in any process."""

import io
import os
import pickle
import time
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from vicmae.datasets import ImageFolder
from vicmae.datasets.sources import list_file
from vicmae.datasets.sources.list_file import ListFile
from vicmae.errors import DataError

MANY = 300_000


def lines_of(path):
    """All lines, by the simplest code: (number, text) of those that are neither blank nor a comment."""
    text = Path(path).read_text(encoding='utf-8-sig')
    numbered = enumerate(text.split('\n'), start=1)
    lines = [(number, line) for number, line in numbered if not line.startswith('#')]
    return [(number, line.strip()) for number, line in lines if line.strip()]


def random_text(rng, num_lines):
    """Lines of any length, some blank, with all that people leave at their ends."""
    words = ['a', 'ü/ß 1.jpg', 'x' * 200, '', ' ', '\t', '漢字 3', '#', '# a.jpg', 'a #.jpg']
    ends = ['\n', '\r\n', ' \n', '\n\n', '\n \t\n']
    return ''.join(rng.choice(words) + rng.choice(ends) for _ in range(num_lines)) + 'last'


@pytest.mark.parametrize('chunk_bytes', [50, 1000, 2**24])
@pytest.mark.parametrize('seed', range(5))
def test_lines_are_those_of_the_text(tmp_path, monkeypatch, seed, chunk_bytes):
    monkeypatch.setattr(list_file, '_CHUNK_BYTES', chunk_bytes)
    rng = np.random.default_rng(seed)
    path = tmp_path / 'list.txt'
    path.write_bytes((['', '\ufeff'][seed % 2] + random_text(rng, 700)).encode())
    expected = lines_of(path)
    lines = ListFile(str(path))
    assert len(lines) == len(expected) > 300
    assert [lines[index] for index in range(len(lines))] == expected
    for index in rng.permutation(len(expected)).tolist():
        assert lines[index] == expected[index]


@pytest.mark.parametrize(
    'text', ['one', 'one\n', '\n\none', '\ufeffone\r\n\r\n', '\ufeff# a\n#\none']
)
def test_single_line_is_read_with_any_line_ending(tmp_path, text):
    path = tmp_path / 'list.txt'
    path.write_bytes(text.encode())
    assert [ListFile(str(path))[0]] == lines_of(path)


def test_endless_line_is_not_a_list(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'x' * (2**24 + 2**20))
    with pytest.raises(DataError, match=r"list\.txt' is no list: one line has more than"):
        ListFile(str(tmp_path / 'list.txt'))


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """A list of many lines, in a folder with its files."""
    root = tmp_path_factory.mktemp('many')
    for number in range(10):
        (root / f'{number}.jpg').touch()
    lines = [f'{i % 10}.jpg {i % 1000}\n' for i in range(MANY)]
    lines[100_001] = '1.jpg cat\n'
    lines[200_001] = 'lost.jpg 1\n'
    (root / 'list.txt').write_text(''.join(lines))
    (root / 'few.txt').write_text(''.join(lines[:10]))
    return root


def test_bad_line_that_was_not_checked_is_an_error_of_its_sample(many):
    source = ImageFolder(str(many), 'list.txt')
    assert len(source) == MANY
    assert source.get_data_info(100_002) == dict(path=f'{many}/2.jpg', gt_label=2)
    with pytest.raises(DataError, match=r"list\.txt: the label of line 100002 is the name 'cat'"):
        source.get_data_info(100_001)
    assert source.get_data_info(200_001)['path'] == f'{many}/lost.jpg'


def test_all_lines_are_read_if_labels_are_needed(many):
    with pytest.raises(DataError, match="line 100002 is the name 'cat' and the label of line 1 is"):
        ImageFolder(str(many), 'list.txt', max_per_class=3)


def test_all_of_a_hundred_thousand_lines_are_checked(many, tmp_path):
    lines = (many / 'list.txt').read_text().splitlines(keepends=True)[:100_000]
    lines[77_777] = '1.jpg cat\n'
    (tmp_path / 'list.txt').write_text(''.join(lines))
    with pytest.raises(DataError, match="line 77778 is the name 'cat' and the label of line 1 is"):
        ImageFolder(str(many), str(tmp_path / 'list.txt'))


def test_evenly_spaced_files_are_checked(many, tmp_path, log):
    lines = (many / 'few.txt').read_text().splitlines(keepends=True) * 1000
    lines[5000:] = ['lost.jpg 1\n'] * 5000
    (tmp_path / 'list.txt').write_text(''.join(lines))
    source = ImageFolder(str(many), str(tmp_path / 'list.txt'))
    (said,) = log
    assert (
        f"500 of the 1000 files that were looked for are missing, the first in line 5001: '{many}/lost.jpg'. "
        'They count as bad files.'
    ) in said
    assert len(source) == 10_000


def test_list_without_existing_files_is_refused(many, tmp_path):
    with pytest.raises(
        DataError,
        match=r"few\.txt: none of the 10 files that were looked for exists, such as line 1: '/no/0.jpg'.*'/no'",
    ):
        ImageFolder('/no', str(many / 'few.txt'))


def copied(many, tmp_path):
    source = ImageFolder(str(many), str(tmp_path / 'list.txt'))
    source.get_data_info(0)
    return source


def test_replaced_list_is_read_only_by_new_processes(many, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes((many / 'few.txt').read_bytes())
    source = copied(many, tmp_path)
    (tmp_path / 'new.txt').write_text('1.jpg 5\n' * 20)
    os.replace(tmp_path / 'new.txt', path)
    assert source.get_data_info(3)['gt_label'] == 3
    with pytest.raises(DataError, match=r"list\.txt' has changed since it was opened"):
        pickle.loads(pickle.dumps(source)).get_data_info(3)
    path.unlink()
    with pytest.raises(DataError, match=r"Can't read the list `ann_file` '.*list\.txt': No such"):
        pickle.loads(pickle.dumps(source)).get_data_info(3)


def test_truncated_list_is_detected(many, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes((many / 'list.txt').read_bytes()[:100_000])
    source = copied(many, tmp_path)
    os.truncate(path, 50_000)
    assert source.get_data_info(100)['gt_label'] == 100
    with pytest.raises(DataError, match=r"list\.txt' has changed since it was opened"):
        source.get_data_info(len(source) - 1)


def own_bytes(pid):
    """Memory that a process has for itself."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    names = ('Private_Dirty', 'Pss_Shmem')
    return sum(1024 * int(text.partition(f'{name}:')[2].split()[0]) for name in names)


def labels_and_memory(source, indices, method):
    """What a worker reads, and how much memory it has then."""
    loader = DataLoader(
        source,
        1000,
        sampler=indices,
        num_workers=1,
        collate_fn=list,
        multiprocessing_context=method,
    )
    before = set(active_children())
    batches = iter(loader)
    labels = [sample['gt_label'] for sample in next(batches)]
    (worker,) = set(active_children()) - before
    return labels, own_bytes(worker.pid)


def test_worker_needs_little_memory_for_many_lines(many):
    few, source = ImageFolder(str(many), 'few.txt'), ImageFolder(str(many), 'list.txt')
    indices = range(0, MANY, 499)
    _, before = labels_and_memory(few, [i % 10 for i in indices], 'fork')
    labels, after = labels_and_memory(source, indices, 'fork')
    assert labels == [i % 1000 for i in indices]
    assert after - before < 5e6


@pytest.mark.slow
def test_spawned_worker_gets_a_handle_and_not_all_line_positions(many):
    source = ImageFolder(str(many), 'list.txt')
    assert len(ForkingPickler.dumps(source)) < 5000
    labels, _ = labels_and_memory(source, range(0, MANY, 499), 'spawn')
    assert labels == [i % 1000 for i in range(0, MANY, 499)]


def test_many_lines_are_opened_in_a_moment(many):
    start = time.process_time()
    source = ImageFolder(str(many), 'list.txt')
    assert time.process_time() - start < 3
    held = io.BytesIO()
    pickle.dump(source, held)  # by value
    assert held.tell() < 200_000
