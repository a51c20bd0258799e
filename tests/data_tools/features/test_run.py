# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A file of features has the same bytes however often the run was killed, and however many processes made it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from vicmae.apis import FeatureExtractor
from vicmae.data_tools.features import plan as plan_module
from vicmae.data_tools.features.files import read_features
from vicmae.data_tools.features.folder import PartsFolder, PartWriter
from vicmae.data_tools.features.plan import Part, Plan
from vicmae.data_tools.features.run import write_features
from vicmae.datasets.clip_reader import ClipReader
from vicmae.engine.encoding import FeatureRow

ROOT = Path(__file__).parents[3]
SUFFIXES = ('.npz', '.parquet')


WINDOWS = dict(window=0.5, stride=0.25, num_frames=4)


@pytest.mark.parametrize('suffix', SUFFIXES)
@pytest.mark.parametrize('output', ['pooled', 'frames', 'dense'])
@pytest.mark.parametrize('kind', ['frames', 'clips'])
def test_file_has_the_rows_of_the_extractor(
    write, checkpoints, media, tmp_path, small_parts, kind, output, suffix
):
    out = tmp_path / f'a{suffix}'
    written = write(checkpoints[kind], media, out, output=output, **WINDOWS)
    stored = read_features(out)
    options = dict(output=output, on_bad_file='skip', **WINDOWS)
    extractor = FeatureExtractor(checkpoints[kind], device='cpu', **options)
    rows = list(extractor.rows(media))
    assert len(rows) == len(stored.paths) == written.num_rows > 20
    assert [row.source for row in rows] == stored.paths.tolist()
    for row, frames, times in zip(rows, stored.frames, stored.times, strict=True):
        assert list(row.frames) == frames[frames >= 0].tolist()
        assert list(row.times) == times[~np.isnan(times)].tolist()
    features = torch.stack([row.feature for row in rows])
    torch.testing.assert_close(torch.from_numpy(stored.features.copy()), features)
    assert stored.settings['output'] == output and stored.settings['window'] == 0.5
    assert written.bad.keys() == extractor.bad_files.keys()
    assert sorted(os.listdir(tmp_path)) == [out.name, f'{out.name}.bad_files.jsonl']


def test_parquet_has_plain_columns(write, checkpoints, media, tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    write(checkpoints['frames'], media, tmp_path / 'a.parquet', **WINDOWS)
    table = parquet.read_table(tmp_path / 'a.parquet')
    assert [str(field.type).replace('element', 'item') for field in table.schema] == [
        'string',
        'list<item: int32>',
        'list<item: double>',
        'fixed_size_list<item: float>[64]',
    ]
    row = table.slice(0, 1).to_pylist()[0]
    assert row['path'].endswith('0.jpg') and row['frames'] == [0] and len(row['feature']) == 64


def test_bad_and_short_files_are_listed(write, checkpoints, media, tmp_path):
    written = write(checkpoints['frames'], media, tmp_path / 'a.npz', window=60.0)
    lines = (tmp_path / 'a.npz.bad_files.jsonl').read_text().splitlines()
    listed = {Path(row['file']).name: row for row in map(json.loads, lines)}
    assert {name for name, row in listed.items() if 'error' in row} == {
        '3 broken.jpg',
        'broken.mp4',
    }
    assert {name for name, row in listed.items() if 'shorter than' in row.get('note', '')} == {
        '0.mp4',
        '1.mp4',
        '2.mp4',
    }
    assert written.num_files == 12 and written.num_rows == 10
    assert "2 files can't be read, 3 with notes" in written.text


@pytest.mark.parametrize('num_workers', [1, 2])
def test_workers_make_the_same_bytes(write, checkpoints, media, tmp_path, small_parts, num_workers):
    for name, workers in (('one', 0), ('two', num_workers)):
        write(
            checkpoints['frames'], media, tmp_path / f'{name}.npz', num_workers=workers, **WINDOWS
        )
    assert (tmp_path / 'one.npz').read_bytes() == (tmp_path / 'two.npz').read_bytes()


class Stopped(BaseException):
    """The run ends here, as if it were killed."""


@pytest.mark.parametrize('suffix', SUFFIXES)
@pytest.mark.parametrize('kind', ['frames', 'clips'])
def test_stopped_run_continues_to_the_same_bytes(
    write, checkpoints, media, tmp_path, small_parts, monkeypatch, kind, suffix
):
    whole, out = tmp_path / f'whole{suffix}', tmp_path / f'b{suffix}'
    write(checkpoints[kind], media, whole, **WINDOWS)
    finish, left, stops = PartsFolder.write_summary, 0, 0

    def stop(self, *args):
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        finish(self, *args)

    monkeypatch.setattr(PartsFolder, 'write_summary', stop)
    while not out.exists():
        left = 1
        try:
            write(checkpoints[kind], media, out, **WINDOWS)
        except Stopped:
            stops += 1
            assert not out.exists()
    assert stops >= 3
    assert out.read_bytes() == whole.read_bytes()


def _write_on_each_rank(checkpoint, media, out):
    plan_module._BATCHES_OF_IMAGES = plan_module._BYTES_OF_VIDEOS = 1
    options = dict(batch_size=2, num_workers=0, device='cpu', **WINDOWS)
    return write_features(checkpoint, [str(media)], out, **options).num_rows


def test_ranks_make_the_same_bytes(write, gloo_pool, checkpoints, media, tmp_path, small_parts):
    write(checkpoints['frames'], media, tmp_path / 'one.npz', **WINDOWS)
    out = tmp_path / 'two.npz'
    rows = gloo_pool.run(_write_on_each_rank, 2, checkpoints['frames'], media, out)
    assert rows[0] > 20 and rows[1] == 0
    assert out.read_bytes() == (tmp_path / 'one.npz').read_bytes()


def test_file_that_crashes_its_reader_is_left_out(
    write, checkpoints, media, tmp_path, small_parts, monkeypatch
):
    without = shutil.copytree(media, tmp_path / 'media')
    write(checkpoints['frames'], without, tmp_path / 'all.npz', **WINDOWS)
    read = ClipReader.__call__

    def crash(self, source, span=None):
        pieces = read(self, source, span)
        yield next(pieces)
        if source.endswith('1.mp4'):
            os.kill(os.getpid(), signal.SIGKILL)
        yield from pieces

    monkeypatch.setattr(ClipReader, '__call__', crash)
    written = write(checkpoints['frames'], without, tmp_path / 'a.npz', num_workers=2, **WINDOWS)
    assert 'killed its process (SIGKILL' in written.bad[str(without / '1.mp4')]
    everything, rest = read_features(tmp_path / 'all.npz'), read_features(tmp_path / 'a.npz')
    kept = np.array([not path.endswith('1.mp4') for path in everything.paths])
    assert np.array_equal(everything.features[kept], rest.features)
    assert np.array_equal(everything.paths[kept], rest.paths)


def test_long_video_is_read_in_parts(write, checkpoints, media, tmp_path, monkeypatch):
    for output in ('pooled', 'frames'):
        out = {name: tmp_path / f'{name} {output}.npz' for name in ('whole', 'parts')}
        write(checkpoints['frames'], media, out['whole'], output=output, **WINDOWS)
        with monkeypatch.context() as patch:
            patch.setattr(plan_module, '_BYTES_OF_LONG_VIDEOS', 1)
            patch.setattr(plan_module, '_SECONDS_OF_A_PART', 0.9)
            parts = list(Plan([str(media)], 2, cuts=True))
            write(checkpoints['frames'], media, out['parts'], output=output, **WINDOWS)
        whole, cut = read_features(out['whole']), read_features(out['parts'])
        assert whole.paths.tolist() == cut.paths.tolist()
        np.testing.assert_array_equal(whole.frames, cut.frames)
        np.testing.assert_allclose(whole.features, cut.features, rtol=1e-4, atol=1e-5)
    spans = [part.span for part in parts if part.span]
    assert len(spans) > 6 and sum(part.num_files for part in parts) == 12
    assert [part.number for part in parts] == list(range(len(parts)))
    files = [n for part in parts for n in range(part.first, part.end) if part.num_files]
    assert files == list(range(12))


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_names_that_are_not_unicode_are_kept_readable(write, checkpoints, media, tmp_path, suffix):
    folder = tmp_path / 'media'
    folder.mkdir()
    shutil.copy(media / '0.jpg', os.fsencode(folder) + b'/a\xff.jpg')
    shutil.copy(media / '1.jpg', folder / 'b, \u00e9.jpg')
    Path(os.fsdecode(os.fsencode(folder) + b'/c\xff.jpg')).write_bytes(b'no picture')
    written = write(checkpoints['frames'], folder, tmp_path / f'a{suffix}')
    stored = read_features(tmp_path / f'a{suffix}')
    assert [Path(path).name for path in stored.paths] == ['a\\xff.jpg', 'b, \u00e9.jpg']
    (line,) = (tmp_path / f'a{suffix}.bad_files.jsonl').read_text().splitlines()
    assert json.loads(line)['file'] in written.bad


def test_rows_are_copied(tmp_path):
    writer = PartWriter(PartsFolder(tmp_path / 'a.npz'), Part(0, 0, 1), 4)
    feature = torch.zeros(8)
    alive = weakref.ref(feature)
    writer.add(FeatureRow(0, (1,), (), feature))
    del feature
    assert alive() is None


# ------------------------------------------------------------------------- the command
def command(*arguments, launcher=()):
    return [sys.executable, '-m', *launcher, 'vicmae', 'features', *map(str, arguments)]


def environment():
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


@pytest.mark.slow
def test_command_killed_at_any_time_continues_to_the_same_bytes(checkpoints, media, tmp_path):
    many = tmp_path / 'many'
    many.mkdir()
    for number in range(40):
        shutil.copytree(media, many / str(number))
    options = ('--window', '0.5s', '--stride', '250ms', '--batch-size', 2, '--workers', 2)
    arguments = (checkpoints['clips'], many, *options)
    whole, out = tmp_path / 'whole.npz', tmp_path / 'a.npz'
    subprocess.run(command(*arguments, '--out', whole), env=environment(), check=True, timeout=600)
    rng, kills = random.Random(0), 0
    while not out.exists():
        process = subprocess.Popen(command(*arguments, '--out', out), env=environment())
        parts = Path(f'{out}.parts')
        deadline = time.monotonic() + 120
        known = len(list(parts.glob('*.json'))) if parts.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            if (
                kills < 4
                and parts.exists()
                and len(list(parts.glob('*.json'))) > known + rng.randrange(3, 6)
            ):
                process.send_signal(signal.SIGKILL)
                kills += 1
        process.wait(timeout=300)
    assert kills == 4
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_torchrun_makes_the_same_bytes(checkpoints, media, tmp_path):
    arguments = (
        checkpoints['frames'],
        media,
        '--window',
        '0.5s',
        '--batch-size',
        2,
        '--workers',
        1,
    )
    one, two = tmp_path / 'one.npz', tmp_path / 'two.npz'
    subprocess.run(command(*arguments, '--out', one), env=environment(), check=True, timeout=300)
    launcher = ('torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m')
    subprocess.run(
        command(*arguments, '--out', two, '--launcher', 'pytorch', launcher=launcher),
        env=environment(),
        check=True,
        timeout=300,
    )
    assert one.read_bytes() == two.read_bytes()
