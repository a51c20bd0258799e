# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json

import pytest

from vicmae.errors import ConfigError
from vicmae.utils.work_dir import claim_work_dir, find_run


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    for name in ('RANK', 'TORCHELASTIC_RESTART_COUNT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))


@pytest.fixture
def work(tmp_path):
    """A work directory without a run: it has the log of a test, features and weights to start from."""
    folder = tmp_path / 'work'
    scalars = folder / '20260101_000000/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text(json.dumps({'images/knn_top1': 25.0}) + '\n')
    (folder / 'features').mkdir()
    (folder / 'features/iter_1.pth').touch()
    (folder / 'pretrained.pth').touch()
    return folder


def leave_curves(folder):
    scalars = folder / '20260102_000000/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"loss": 1.5, "iter": 1}\n')


def leave(name):
    return lambda folder: (folder / name).touch()


def claim(folder, overwrite=False, resumes=False, launcher='none'):
    claim_work_dir(str(folder), overwrite=overwrite, resumes=resumes, launcher=launcher)


def test_folder_without_a_run_is_taken_as_it_is(work, tmp_path):
    claim(work)
    claim(work, overwrite=True)
    claim(tmp_path / 'new')
    assert find_run(work) is None
    assert (work / 'pretrained.pth').exists()


@pytest.mark.parametrize(
    'leave',
    [leave_curves, leave('last_checkpoint'), leave('epoch_3.pth'), leave('iter_40.pth')],
)
def test_folder_of_another_run_is_refused_with_what_to_do(work, leave):
    leave(work)
    with pytest.raises(ConfigError, match=r'holds a run \(.*`--resume`.*`--overwrite`.*`--work-d'):
        claim(work)
    claim(work, resumes=True)


def test_overwrite_moves_the_earlier_run_to_a_name_that_is_free(work, capsys):
    for number in (1, 2):
        work.mkdir(exist_ok=True)
        (work / 'last_checkpoint').write_text(f'iter_{number}.pth')
        claim(work, overwrite=True)
        moved = work.with_name(f'work.old-{number}')
        assert (moved / 'last_checkpoint').read_text() == f'iter_{number}.pth'
        assert f"The earlier run was moved to '{moved}'." in capsys.readouterr().err
        assert not work.exists()


def test_resuming_run_moves_nothing(work):
    leave_curves(work)
    claim(work, overwrite=True, resumes=True)
    assert find_run(work) is not None


def test_only_the_first_rank_looks(work, monkeypatch):
    leave_curves(work)
    monkeypatch.setenv('RANK', '1')
    claim(work, overwrite=True, launcher='pytorch')
    assert find_run(work) is not None


def test_restart_by_torchrun_resumes_its_own_run_and_no_refused_one(work, monkeypatch):
    claim(work, launcher='pytorch')
    leave_curves(work)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    claim(work, resumes=True, launcher='pytorch')
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    for count in '01':
        monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', count)
        with pytest.raises(ConfigError, match='holds a run'):
            claim(work, resumes=count == '1', launcher='pytorch')


def test_folder_that_cannot_be_moved_is_one_message(work, monkeypatch):
    leave_curves(work)

    def refuse(*_):
        raise OSError(16, 'Device or resource busy')

    monkeypatch.setattr('pathlib.Path.rename', refuse)
    with pytest.raises(ConfigError, match="Can't move the run in "):
        claim(work, overwrite=True)
