# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pickle
from pathlib import Path

import cv2
import numpy as np

from vicmae.datasets import MixedDataset
from vicmae.evaluation.metrics import DumpPredictions
from vicmae.evaluation.metrics.predictions import each_once


def write_image(path):
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def test_file_has_each_sample_once(tmp_path):
    metric = DumpPredictions(str(tmp_path / 'said.pkl'))
    metric.process(None, [dict(path='ab'[i], sample_idx=i) for i in (0, 1, 0)])
    assert metric.evaluate(3) == {}
    said = pickle.loads((tmp_path / 'said.pkl').read_bytes())
    assert [row['path'] for row in said] == ['a', 'b']


def test_sample_of_two_ranks_counts_once_and_repeated_files_count_each_time():
    rows = [
        dict(path='a', sample_idx=0, start=0.0),
        dict(path='a', sample_idx=1, start=2.0),
        dict(path='b', sample_idx=2),
        dict(path='a', sample_idx=0, start=0.0),
        dict(path='b'),  # of a data set that doesn't number its samples
        dict(path='b'),
    ]
    assert each_once(rows) == [*rows[:3], *rows[4:]]


def test_samples_of_all_sources_have_unique_numbers(tmp_path):
    for name in 'ab':
        write_image(tmp_path / f'{name}.png')
    (tmp_path / 'list.txt').write_text('a.png 0\na.png 1\nb.png 0\n')
    pipeline = [dict(type='LoadImage'), dict(type='PackClip')]
    source = dict(
        type='ImageFolder',
        data_root=str(tmp_path),
        ann_file=str(tmp_path / 'list.txt'),
        with_labels=True,
        pipeline=pipeline,
    )
    mixed = MixedDataset(dict(bank=source, query=source))
    found = [mixed[i]['data_samples'] for i in range(6)]
    assert [sample.sample_idx for sample in found] == list(range(6))
    assert [Path(sample.path).stem for sample in found] == list('aabaab')
    assert each_once([sample.to_dict() for sample in (*found, found[0])]) == [
        sample.to_dict() for sample in found
    ]
