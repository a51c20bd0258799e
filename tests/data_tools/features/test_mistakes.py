# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A mistake or a full disk is one clear message, and nothing is half-written."""

import sys
from pathlib import Path

import pytest

from vicmae.data_tools.features.files import read_features
from vicmae.data_tools.features.folder import PartsFolder
from vicmae.errors import CheckpointError, ConfigError, DataError, EnvironmentFault

from ...child import alone, limit_files

WINDOWS = dict(window=0.5, stride=0.25, num_frames=4)


class Stopped(BaseException):
    """The run ends here, as if it were killed."""


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_unknown_suffix_is_refused(write, checkpoints, media, tmp_path):
    with pytest.raises(DataError, match=r'ends in \.parquet or \.npz, got '):
        write(checkpoints['frames'], media, tmp_path / 'a.csv')
    assert names(tmp_path) == []


def test_parquet_without_pyarrow_names_the_package(
    write, checkpoints, media, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(EnvironmentFault, match=r'need pyarrow: .* -m pip install pyarrow'):
        write(checkpoints['frames'], media, tmp_path / 'a.parquet')
    assert names(tmp_path) == []


def test_missing_input_is_refused(write, checkpoints, tmp_path):
    with pytest.raises(DataError, match='There is no file or folder'):
        write(checkpoints['frames'], tmp_path / 'none', tmp_path / 'a.npz')
    with pytest.raises(DataError, match='There are no images or videos in '):
        write(checkpoints['frames'], tmp_path, tmp_path / 'a.npz')
    assert names(tmp_path) == []


def test_missing_checkpoint_is_refused(write, media, tmp_path):
    with pytest.raises(CheckpointError, match='does not exist'):
        write(tmp_path / 'none.pth', media, tmp_path / 'a.npz')
    assert names(tmp_path) == []


def test_folder_that_cannot_be_written_is_refused(write, checkpoints, media, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match="Can't write to `--out` "):
        write(checkpoints['frames'], media, tmp_path / 'file/a.npz')
    assert names(tmp_path) == ['file']


@alone
def test_full_disk_is_one_message_and_the_run_continues(
    write, checkpoints, media, tmp_path, small_parts
):
    write(checkpoints['frames'], media, tmp_path / 'whole.npz', **WINDOWS)
    size = (tmp_path / 'whole.npz').stat().st_size
    for limit in (700, size - 1):
        limit_files(limit)
        with pytest.raises(DataError, match=r"Can't write features to .*Complete parts are kept"):
            write(checkpoints['frames'], media, tmp_path / 'a.npz', **WINDOWS)
        limit_files()
        assert not (tmp_path / 'a.npz').exists()
        assert not list(tmp_path.rglob('*.unfinished'))
    write(checkpoints['frames'], media, tmp_path / 'a.npz', **WINDOWS)
    assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'whole.npz').read_bytes()


def test_run_that_cannot_begin_leaves_nothing(write, checkpoints, media, tmp_path):
    for options in (
        dict(config='no such config'),
        dict(device='no such device'),
        dict(num_frames=-1),
    ):
        with pytest.raises(ConfigError):
            write(checkpoints['frames'], media, tmp_path / 'a.npz', **options)
        assert names(tmp_path) == []


def test_existing_output_is_kept_unless_it_is_to_be_replaced(write, checkpoints, media, tmp_path):
    (tmp_path / 'a.npz').write_bytes(b'mine')
    with pytest.raises(DataError, match='exists. Name another `--out`, or replace it'):
        write(checkpoints['frames'], media, tmp_path / 'a.npz')
    assert (tmp_path / 'a.npz').read_bytes() == b'mine' and names(tmp_path) == ['a.npz']
    write(checkpoints['frames'], media, tmp_path / 'a.npz', fresh=True)
    assert read_features(tmp_path / 'a.npz').features.shape == (10, 64)


def test_parts_of_other_settings_are_not_mixed(
    write, checkpoints, media, tmp_path, small_parts, monkeypatch
):
    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr('vicmae.data_tools.features.run.join_parts', stop)
        with pytest.raises(Stopped):
            write(checkpoints['frames'], media, tmp_path / 'a.npz')
    for options in (dict(window=1.0), dict(batch_size=3), dict(output='dense')):
        with pytest.raises(DataError, match=rf'other settings: .*`{next(iter(options))}` was'):
            write(checkpoints['frames'], media, tmp_path / 'a.npz', **options)
    with pytest.raises(DataError, match='other settings: .*`weights` was'):
        write(checkpoints['clips'], media, tmp_path / 'a.npz')
    write(checkpoints['frames'], media, tmp_path / 'a.npz', output='dense', fresh=True)
    assert read_features(tmp_path / 'a.npz').features.shape[1:] == (8, 8, 64)


def test_folder_of_something_else_is_not_touched(write, checkpoints, media, tmp_path):
    (tmp_path / 'a.npz.parts').mkdir()
    (tmp_path / 'a.npz.parts/mine.txt').touch()
    with pytest.raises(DataError, match=r"holds something else, such as 'mine.txt'"):
        write(checkpoints['frames'], media, tmp_path / 'a.npz', fresh=True)
    assert (tmp_path / 'a.npz.parts/mine.txt').exists()


def test_two_runs_do_not_write_one_output(write, checkpoints, media, tmp_path):
    with (
        PartsFolder(tmp_path / 'a.npz').locked(),
        pytest.raises(DataError, match='Another process is writing'),
    ):
        write(checkpoints['frames'], media, tmp_path / 'a.npz')


def test_nothing_readable_is_an_error(write, checkpoints, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'')
    with pytest.raises(DataError, match=r"None of the 1 files can be read, such as '.*a\.jpg'"):
        write(checkpoints['frames'], tmp_path / 'a.jpg', tmp_path / 'a.npz')


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(window=-1.0), 'window'),
        (dict(num_workers=-1), '--workers'),
        (dict(batch_size=0), '--batch-size'),
    ],
)
def test_wrong_options_are_config_errors(write, checkpoints, media, tmp_path, options, text):
    with pytest.raises(ConfigError, match=f'`{text}` must be'):
        write(checkpoints['frames'], media, tmp_path / 'a.npz', **options)
