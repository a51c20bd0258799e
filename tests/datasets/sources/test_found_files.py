# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What is found below a folder, and how little memory it takes."""

import os
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from vicmae.datasets.sources.found_files import FoundFiles, PackedNames, walk
from vicmae.structures import NO_LABEL


def make_files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found_below(root):
    return [f'{folder}/{name}'.lstrip('/') for folder, names in walk(str(root)) for name in names]


def test_packed_names_are_restored():
    names = ['a', '', 'ü/漢', 'x' * 1000, 'bad\udcff']
    packed = PackedNames(names)
    assert [packed[i] for i in range(len(packed))] == names
    assert len(PackedNames([])) == 0


def test_order_is_that_of_the_parts_of_the_paths(tmp_path):
    names = ['b/1.jpg', 'b.jpg', 'a/z/1.jpg', 'a/y.jpg', 'a-b/1.jpg', 'a/z.jpg', 'B/1.jpg', 'a.jpg']
    make_files(tmp_path, *names)
    by_parts = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob('*.jpg'))
    assert found_below(tmp_path) == [str(path) for path in by_parts]
    assert len(by_parts) == len(names)


def test_circular_links_are_followed_once(tmp_path):
    make_files(tmp_path, 'ant/1.jpg', 'bee/1.jpg')
    (tmp_path / 'ant/up').symlink_to(tmp_path)
    (tmp_path / 'bee/again').symlink_to(tmp_path / 'bee')
    (tmp_path / 'bee/itself').symlink_to(tmp_path / 'bee/itself')
    assert found_below(tmp_path) == ['ant/1.jpg', 'bee/1.jpg', 'bee/itself']


def test_file_names_that_are_not_utf8_are_found(tmp_path):
    path = os.fsencode(tmp_path) + b'/\xe9t\xe9.jpg'
    with open(path, 'wb') as file:
        file.write(b'x')
    found = FoundFiles(str(tmp_path), walk(str(tmp_path)))
    assert Path(found[0]['path']).read_bytes() == b'x'


@pytest.mark.parametrize('names', [['ant/1', 'ant/x/2', 'bee/3'], ['ant/1', '2', 'ant/x/3']])
def test_labels_of_all_are_those_of_each(tmp_path, names):
    make_files(tmp_path, *names)
    found = FoundFiles(str(tmp_path), walk(str(tmp_path)))
    assert found.labels().tolist() == [found[i]['gt_label'] for i in range(len(found))]
    assert (found.classes is None) == (found.labels() == NO_LABEL).all()


def test_empty_catalogue_has_no_labels(tmp_path):
    found = FoundFiles(str(tmp_path), walk(str(tmp_path)))
    assert len(found) == len(found.labels()) == 0


def test_many_files_need_little_memory_and_spawned_workers_a_handle():
    runs = [(f'class_{c:03d}', [f'{i:08d}.jpg' for i in range(1000)]) for c in range(100)]
    found = FoundFiles('/data', runs)
    assert found[99_999] == dict(
        path='/data/class_099/00000999.jpg', gt_label=99, class_name='class_099'
    )
    assert np.array_equal(found.labels(), np.repeat(np.arange(100), 1000))
    assert len(ForkingPickler.dumps(found)) < 10_000
