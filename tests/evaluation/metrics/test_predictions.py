# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pickle

from vicmae.evaluation.metrics import DumpPredictions
from vicmae.evaluation.metrics.predictions import each_once


def test_file_has_each_sample_once(tmp_path):
    metric = DumpPredictions(str(tmp_path / 'said.pkl'))
    metric.process(None, [dict(path=path, share=0.5) for path in ('a', 'b', 'a')])
    assert metric.evaluate(3) == {}
    said = pickle.loads((tmp_path / 'said.pkl').read_bytes())
    assert [row['path'] for row in said] == ['a', 'b']


def test_a_file_counts_once_in_each_role_and_what_has_no_path_always():
    rows = [
        dict(path='a', role='bank'),
        dict(path='a', role='query'),
        dict(path='a', role='bank'),
        dict(path=None),
        dict(path=None),
    ]
    assert each_once(rows) == [rows[0], rows[1], rows[3], rows[4]]
