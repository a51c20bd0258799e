# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A file of features is read in blocks, and anything else is refused."""

import numpy as np
import pytest

from vicmae.data_tools.features import files
from vicmae.data_tools.features.files import open_features, read_features
from vicmae.errors import DataError


@pytest.mark.parametrize('output', ['pooled', 'dense'])
@pytest.mark.parametrize('suffix', files.SUFFIXES)
def test_blocks_are_the_rows(write, checkpoints, media, tmp_path, monkeypatch, suffix, output):
    write(checkpoints['frames'], media, tmp_path / f'a{suffix}', output=output, window=0.5)
    whole = read_features(tmp_path / f'a{suffix}')
    monkeypatch.setattr(files, '_ROWS_AT_ONCE', 3)
    file = open_features(tmp_path / f'a{suffix}')
    blocks = list(file.blocks())
    assert max(map(len, blocks)) == 3 and file.num_rows == len(whole.features) > 3
    assert np.array_equal(np.concatenate(blocks), whole.features)
    assert file.shape == whole.features.shape[1:] and file.settings == whole.settings
    assert file.settings['checkpoint'] == str(checkpoints['frames'])


def test_both_formats_have_the_same_rows(write, checkpoints, media, tmp_path):
    for suffix in files.SUFFIXES:
        write(checkpoints['frames'], media, tmp_path / f'a{suffix}', window=0.5)
    one, two = (read_features(tmp_path / f'a{suffix}') for suffix in files.SUFFIXES)
    for first, second in zip(one[:4], two[:4], strict=True):
        np.testing.assert_array_equal(first, second)
    assert one.settings == two.settings


def test_file_of_something_else_is_refused(tmp_path):
    parquet, pyarrow = (pytest.importorskip(f'pyarrow{name}') for name in ('.parquet', ''))
    parquet.write_table(pyarrow.table(dict(a=[1])), tmp_path / 'a.parquet')
    np.savez(tmp_path / 'a.npz', a=1)
    for suffix in files.SUFFIXES:
        with pytest.raises(DataError, match='is no file of `vicmae features`'):
            open_features(tmp_path / f'a{suffix}')
        (tmp_path / f'b{suffix}').write_bytes(b'something else')
        with pytest.raises(DataError, match="Can't read the features in"):
            open_features(tmp_path / f'b{suffix}')
        with pytest.raises(DataError, match='There is no file'):
            open_features(tmp_path / f'c{suffix}')
