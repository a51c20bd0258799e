# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import faulthandler
import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from vicmae.data_tools.checking.file_check import Verdict
from vicmae.data_tools.packing import pack as packing
from vicmae.data_tools.packing.folder import PackFolder
from vicmae.data_tools.packing.pack import Packing
from vicmae.data_tools.packing.recoding import CopyImages, ShrinkImages, VideosAsJpeg, VideosAsMp4
from vicmae.datasets import ImageFolder, ImageShards, VideoFolder, VideoShards
from vicmae.errors import ConfigError, DataError, EnvironmentFault
from vicmae.io.shards.index import index_path, read_index, write_index

from ...child import alone, limit_files


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Twelve small PNGs in two classes, of a few kB each."""
    root = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    for number in range(12):
        path = root / ('ant', 'bee')[number % 2] / f'{number:02d}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return root


@dataclass(frozen=True)
class Trapped(CopyImages):
    """Copies images, except for those whose name says what happens to them."""

    def __call__(self, known):
        name = Path(known['path']).stem
        if name == 'hangs':
            time.sleep(3600)
        if name == 'crashes':
            faulthandler.disable()  # pytest's would print a page
            faulthandler.disable()  # pytest's prints all stacks
            os.abort()
        if name == '00':
            time.sleep(0.3)  # all others are ready before it
        if name == 'needs_more':
            raise ModuleNotFoundError("No module named 'spam'")
        return super().__call__(known)


def pack(root, out, recipe=None, fresh=False, report=lambda tally: None, **settings):
    settings = dict(num_workers=2, max_samples=5) | settings
    return Packing(ImageFolder(str(root)), recipe or CopyImages(), **settings).run(
        out, fresh=fresh, report=report
    )


def linked(pictures, folder, prefix=''):
    """The same pictures in another folder."""
    for path in pictures.rglob('*.png'):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(path, folder / path.parent.name / f'{prefix}{path.name}')
    return folder


def stop_at(number):
    """Interrupts as Ctrl-C does, after so many files."""

    def report(tally):
        if tally.num_files == number:
            raise KeyboardInterrupt

    return report


def contents(folder):
    """All files but hidden ones; of `pack.json` what doesn't change with the time of day."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != '.'}
    state = json.loads(found['pack.json'])
    del state['packed']['seconds']
    return found | {'pack.json': state}


def samples(folder):
    """Of all shards, as webdataset reads them."""
    shards = sorted(str(path) for path in folder.glob('*.tar'))
    return list(webdataset.WebDataset(shards, shardshuffle=False))


# ------------------------------------------------------------------------------- what is in the shards
def test_shards_hold_the_files_in_the_order_of_the_source(pictures, tmp_path):
    tally = pack(pictures, tmp_path / 'out')
    source = ImageFolder(str(pictures))
    files = [source.get_data_info(number) for number in range(12)]
    assert [path.name for path in sorted((tmp_path / 'out').glob('*.tar'))] == [
        f'images-{number:06d}.tar' for number in range(3)
    ]
    found = samples(tmp_path / 'out')
    assert [sample['png'] for sample in found] == [Path(f['path']).read_bytes() for f in files]
    for sample, f in zip(found, files, strict=True):
        path = os.path.relpath(f['path'], pictures)
        notes = dict(path=path, label=f['gt_label'], class_name=f['class_name'])
        assert json.loads(sample['json']) == notes
    assert (tally.num_files, tally.num_samples, tally.num_shards, tally.num_bad) == (12, 12, 3, 0)
    assert tally.bytes_in == sum(Path(f['path']).stat().st_size for f in files)
    assert tally.bytes_out == sum(path.stat().st_size for path in (tmp_path / 'out').glob('*.tar'))


def test_image_shards_read_what_was_packed(pictures, tmp_path):
    pack(pictures, tmp_path / 'out')
    before, after = ImageFolder(str(pictures)), ImageShards(str(tmp_path / 'out'))
    assert len(after) == len(before) == 12
    for number in range(12):
        known, packed = before.get_data_info(number), after.get_data_info(number)
        assert packed['media'] == Path(known['path']).read_bytes()
        assert all(packed[name] == known[name] for name in ('gt_label', 'class_name'))


@pytest.mark.parametrize('recipe', [VideosAsMp4(), VideosAsJpeg(fps=4)])
def test_video_shards_read_what_was_packed(recipe, demo_data, tmp_path):
    clips = VideoFolder(str(demo_data / 'videos/val'))
    tally = Packing(clips, recipe, max_bytes=30_000, num_workers=2).run(tmp_path / 'out')
    packed = VideoShards(str(tmp_path / 'out'))
    assert len(packed) == len(clips) == tally.num_samples > 4
    assert tally.num_shards > 1
    expected = recipe(clips.get_data_info(3))
    shards = samples(tmp_path / 'out')
    assert {name: shards[3][name] for name in expected.members} == expected.members
    assert packed.get_data_info(3)['gt_label'] == clips.get_data_info(3)['gt_label']
    assert tally.num_frames == sum(
        recipe(clips.get_data_info(n)).num_frames for n in range(len(clips))
    )


def test_files_without_labels_have_none_in_the_shards(pictures, tmp_path):
    pack(pictures / 'ant', tmp_path / 'out')
    notes = [json.loads(s['json']) for s in samples(tmp_path / 'out')]
    assert notes[:2] == [dict(path='00.png'), dict(path='02.png')]
    assert ImageShards(str(tmp_path / 'out')).get_data_info(0)['gt_label'] == -1


def test_shard_is_full_by_number_or_by_size(pictures, tmp_path):
    for settings, sizes in [
        (dict(max_samples=5), [5, 5, 2]),
        (dict(max_samples=100), [12]),
        (dict(max_samples=6), [6, 6]),
        (dict(max_samples=100, max_bytes=12_000), [3, 3, 3, 3]),
        (dict(max_samples=2, max_bytes=12_000), [2] * 6),
    ]:
        pack(pictures, tmp_path / 'out', fresh=True, **settings)
        indexes = sorted((tmp_path / 'out').glob('*.index'))
        assert [len(read_index(str(path))) for path in indexes] == sizes


def test_shuffled_order_depends_only_on_the_seed(pictures, tmp_path):
    order = {}
    for name, seed, workers in [('a', 1, 1), ('b', 1, 3), ('c', 2, 2), ('d', None, 2)]:
        pack(pictures, tmp_path / name, shuffle_seed=seed, num_workers=workers)
        order[name] = [json.loads(sample['json'])['path'] for sample in samples(tmp_path / name)]
    assert order['a'] == order['b'] != order['c'] != order['d'] == sorted(order['a'])
    assert sorted(order['c']) == order['d']
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    pack(pictures, tmp_path / 'e', shuffle_seed=1, limit=7)
    assert [json.loads(s['json'])['path'] for s in samples(tmp_path / 'e')] == order['a'][:7]


def test_names_that_are_not_utf8_are_packed(tmp_path):
    folder = tmp_path / 'odd'
    folder.mkdir()
    Image.new('RGB', (8, 8)).save(folder / 'plain.png')
    os.rename(folder / 'plain.png', os.fsencode(str(folder)) + b'/na\xefve.png')
    (folder / 'bad\udcff.png').write_text('no image')
    tally = pack(folder, tmp_path / 'out')
    assert (tally.num_samples, tally.num_bad) == (1, 1)
    assert json.loads(samples(tmp_path / 'out')[0]['json'])['path'] == 'na\ufffdve.png'


# ------------------------------------------------------------------------------- interruptions
def test_any_number_of_workers_gives_the_same_bytes(pictures, tmp_path, monkeypatch):
    pack(pictures, tmp_path / 'one', num_workers=1)
    pack(pictures, tmp_path / 'three', num_workers=3)
    # The first file is the last to be ready; the others wait on the disk.
    monkeypatch.setattr(packing, '_MAX_WAITING_BYTES', 1)
    pack(pictures, tmp_path / 'slow', Trapped(), num_workers=3)
    one, slow = contents(tmp_path / 'one'), contents(tmp_path / 'slow')
    assert contents(tmp_path / 'three') == one
    assert one.pop('pack.json') != slow.pop('pack.json')  # it names another recipe
    assert slow == one


def test_interrupted_run_continues_to_the_same_bytes(pictures, tmp_path):
    broken = linked(pictures, tmp_path / 'source')
    for name in ('ant/03.png', 'ant/99.png', 'bee/99.png'):
        (broken / name).write_text('no image')
    pack(broken, tmp_path / 'whole', max_samples=4)
    expected = contents(tmp_path / 'whole')
    assert len(expected['bad_files.jsonl'].splitlines()) == 3
    # The shards have 5, 5 and 4 files with the bad ones among them; another bad one is behind them.
    for stop, kept in [(3, 0), (5, 0), (6, 5), (14, 10), (15, 14)]:
        out = tmp_path / f'stopped-{stop}'

        with pytest.raises(KeyboardInterrupt):
            pack(broken, out, max_samples=4, report=stop_at(stop))
        assert not list(out.glob('*.unfinished'))
        counts = []
        pack(broken, out, max_samples=4, report=lambda t, counts=counts: counts.append(t.num_files))
        assert counts[0] == kept
        assert contents(out) == expected


@pytest.mark.slow
def test_run_that_is_killed_continues_to_the_same_bytes_and_leaves_no_process(demo_data, tmp_path):
    clips = VideoFolder(str(demo_data / 'videos/train'))

    def start(folder, report=lambda tally: None):
        Packing(clips, VideosAsMp4(), max_samples=3, num_workers=2).run(folder, report=report)

    def die(tally):  # as by `kill -9`, in the third shard, while the workers are busy
        if tally.num_files == 8:
            children = [child.pid for child in multiprocessing.active_children()]
            (tmp_path / 'children').write_text(json.dumps(children))
            os.kill(os.getpid(), signal.SIGKILL)

    context = multiprocessing.get_context('fork')
    process = context.Process(target=start, args=(tmp_path / 'out', die))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / 'out').glob('*.tar'))) == 2
    assert list((tmp_path / 'out').glob('*.unfinished'))
    start(tmp_path / 'out')  # at once: nobody holds the lock
    start(tmp_path / 'whole')
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')
    children = json.loads((tmp_path / 'children').read_text())
    assert len(children) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    """Whether there is such a process that hasn't ended."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_complete_data_set_is_not_packed_again(pictures, tmp_path):
    pack(pictures, tmp_path / 'out')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.tar*')}
    reported = []
    tally = pack(pictures, tmp_path / 'out', report=lambda tally: reported.append(tally.num_files))
    assert reported == [12]
    assert tally.num_samples == 12
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.tar*')} == before


def test_shard_that_pack_json_does_not_count_is_written_again(pictures, tmp_path):
    pack(pictures, tmp_path / 'out')
    expected = contents(tmp_path / 'out')
    with pytest.raises(KeyboardInterrupt):
        pack(pictures, tmp_path / 'killed', report=stop_at(6))
    # As a kill between a shard and the note of it leaves things.
    (tmp_path / 'killed/images-000001.tar').write_bytes(b'of another time')
    (tmp_path / 'killed/images-000002.tar.unfinished').write_bytes(b'half')
    with (tmp_path / 'killed/bad_files.jsonl').open('a') as file:
        file.write('{"file": "half a li')
    pack(pictures, tmp_path / 'killed')
    assert contents(tmp_path / 'killed') == expected


# ------------------------------------------------------------------------------- bad files
def test_bad_files_are_left_out(pictures, tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    for path in pictures.rglob('*.png'):
        os.link(path, source / path.name)
    for name in ('hangs.png', 'crashes.png', 'crashes.jpg', 'hangs.jpg'):
        os.link(pictures / 'ant/00.png', source / name)
    (source / 'text.png').write_text('no image')
    begun = time.monotonic()
    tally = pack(source, tmp_path / 'out', Trapped(), seconds=1.0)
    assert time.monotonic() - begun < 20
    assert (tally.num_samples, tally.num_bad) == (12, 5)
    assert [sample['png'] for sample in samples(tmp_path / 'out')] == [
        path.read_bytes() for path in sorted(source.glob('[0-9]*.png'))
    ]
    rows = list(map(json.loads, (tmp_path / 'out/bad_files.jsonl').open()))
    assert [(Path(row['file']).name, row['kind'], row['ok']) for row in rows] == [
        (name, 'image', False)
        for name in ('crashes.jpg', 'crashes.png', 'hangs.jpg', 'hangs.png', 'text.png')
    ]
    assert {tuple(row) for row in rows} == {Verdict._fields}
    errors = [row['error'] for row in rows]
    assert errors[0].endswith("/crashes.jpg': killed its process (SIGABRT).")
    assert errors[2].endswith("/hangs.jpg': took longer than 1 s.")
    assert errors[4].startswith("Can't read the image '")


def test_source_without_a_good_file_has_no_shards(tmp_path):
    (tmp_path / 'source').mkdir()
    for name in ('a.png', 'b.png'):
        (tmp_path / 'source' / name).write_text('no image')
    tally = pack(tmp_path / 'source', tmp_path / 'out')
    assert (tally.num_shards, tally.num_samples, tally.num_bad) == (0, 0, 2)
    assert not list((tmp_path / 'out').glob('*.tar*'))
    with pytest.raises(
        DataError, match='None of the 2 files that were tried can be read. The first: '
    ):
        Packing(ImageFolder(str(tmp_path / 'source')), CopyImages()).estimate()


def test_no_file_is_blamed_for_missing_packages(pictures, tmp_path):
    os.symlink(pictures / 'ant/00.png', tmp_path / 'needs_more.png')
    with pytest.raises(EnvironmentFault, match="No module named 'spam'"):
        pack(tmp_path, tmp_path / 'out', Trapped())


# ------------------------------------------------------------------------------- what is refused
def test_shards_of_other_settings_are_refused_and_replaced_when_asked(pictures, tmp_path):
    out = tmp_path / 'out'
    pack(pictures, out)
    before = contents(out)
    for settings, message in [
        (dict(max_samples=4), '`max_samples` was 5 and is 4'),
        (dict(recipe=ShrinkImages(16)), "`recipe` was 'CopyImages' and is 'ShrinkImages'"),
        (dict(shuffle_seed=0), '`shuffle_seed` was None and is 0'),
        (dict(limit=3), '`num_files` was 12 and is 3'),
    ]:
        with pytest.raises(DataError, match=f'packed differently: .*{message}.*`--fresh`'):
            pack(pictures, out, **settings)
    other = linked(pictures, tmp_path / 'other', prefix='x')
    with pytest.raises(DataError, match='packed differently: the list of files is another'):
        pack(other, out)
    assert contents(out) == before
    pack(pictures, out, max_samples=100, fresh=True)
    assert [path.name for path in out.glob('*.tar')] == ['images-000000.tar']
    assert len(samples(out)) == 12


def test_data_root_may_have_moved_in_between(pictures, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        pack(pictures, tmp_path / 'out', report=stop_at(8))
    os.symlink(pictures, tmp_path / 'moved')
    assert pack(tmp_path / 'moved', tmp_path / 'out').num_samples == 12


def test_folder_with_other_files_is_refused(pictures, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.tex').write_text('years')
    for fresh in (False, True):
        with pytest.raises(
            DataError, match=r"holds something that was not packed here, such as 'thesis.tex'"
        ):
            pack(pictures, tmp_path / 'mine', fresh=fresh)
    assert [path.name for path in (tmp_path / 'mine').iterdir()] == ['thesis.tex']
    with pytest.raises(DataError, match=r"need a folder, but '.*thesis.tex' is a file"):
        pack(pictures, tmp_path / 'mine/thesis.tex')
    with pytest.raises(DataError, match=r"Can't write shards to '.*/out': Not a directory"):
        pack(pictures, tmp_path / 'mine/thesis.tex/out')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/pack.json').write_text('{')
    with pytest.raises(DataError, match=r"Can't read '.*pack.json'.*`--fresh`"):
        pack(pictures, tmp_path / 'out')


def hold(folder, ready, done):
    with PackFolder(folder, 'image').locked():
        ready.set()
        done.wait()


def test_one_process_packs_into_a_folder_at_a_time(pictures, tmp_path):
    context = multiprocessing.get_context('fork')
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / 'out', ready, done))
    other.start()
    ready.wait(30)
    with pytest.raises(DataError, match='Another process is packing into'):
        pack(pictures, tmp_path / 'out')
    done.set()
    other.join()
    assert pack(pictures, tmp_path / 'out').num_samples == 12


def hold_and_die(folder):
    with PackFolder(folder, 'image').locked():
        if os.fork() == 0:
            time.sleep(2)  # as a worker does that hangs
        os._exit(0)


def test_worker_of_a_killed_run_does_not_block_others(pictures, tmp_path):
    context = multiprocessing.get_context('fork')
    other = context.Process(target=hold_and_die, args=(tmp_path / 'out',))
    other.start()
    other.join()
    assert pack(pictures, tmp_path / 'out').num_samples == 12


@alone
def test_full_disk_is_reported_once_and_finished_shards_are_kept(pictures, tmp_path):
    one = (pictures / 'ant/00.png').stat().st_size
    pack(pictures, tmp_path / 'whole', max_samples=3)

    def shrink_disk(tally):
        if tally.num_files == 4:  # in the second shard
            limit_files(2 * one)

    with pytest.raises(
        DataError, match="Can't write shards to .*File too large.* same command continues"
    ):
        pack(pictures, tmp_path / 'out', max_samples=3, report=shrink_disk)
    limit_files()
    assert [path.name for path in (tmp_path / 'out').glob('*.tar*')] != []
    assert not list((tmp_path / 'out').glob('*.unfinished'))
    pack(pictures, tmp_path / 'out', max_samples=3)
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_damaged_shards_are_detected(pictures, tmp_path):
    shard = tmp_path / 'out/images-000001.tar'
    pack(pictures, tmp_path / 'out')
    content = shard.read_bytes()
    shard.write_bytes(content[:512] + b'\1' + content[513:1024] + content[1024:])
    pack(pictures, tmp_path / 'out')  # it is in pixels, of which neither tar nor index knows
    start = read_index(index_path(str(shard))).members(1)[0].offset - 512
    shard.write_bytes(content[:start] + b'x' + content[start + 1 :])
    with pytest.raises(DataError, match=r'images-000001.tar.* Start over with `--fresh`'):
        pack(pictures, tmp_path / 'out')
    shard.write_bytes(content[:-512])
    with pytest.raises(DataError, match='its size is another'):
        pack(pictures, tmp_path / 'out')
    shard.unlink()
    with pytest.raises(DataError, match=r'images-000001.tar.* is missing'):
        pack(pictures, tmp_path / 'out')


def test_wrong_index_is_detected(pictures, tmp_path):
    pack(pictures, tmp_path / 'out')
    path = index_path(str(tmp_path / 'out/images-000001.tar'))
    index = read_index(path)
    other = {name: np.array(values) for name, values in index.arrays.items()}
    other['labels'][2] += 1
    write_index(replace(index, arrays=other), path)
    with pytest.raises(DataError, match=r'images-000001.tar.* and its index do not fit.*`--fresh`'):
        pack(pictures, tmp_path / 'out')


def test_invalid_numbers_are_refused(pictures, demo_data):
    source = ImageFolder(str(pictures))
    for name in ('max_samples', 'max_bytes', 'limit', 'num_workers', 'seconds'):
        with pytest.raises(ConfigError, match=f'`{name}` must be more than 0, got 0'):
            Packing(source, CopyImages(), **{name: 0})
    with pytest.raises(ConfigError, match='VideosAsMp4 is for videos, but the source has images'):
        Packing(source, VideosAsMp4())


# ------------------------------------------------------------------------------- estimates
def test_estimate_is_near_the_result(demo_data, tmp_path):
    source = VideoFolder(str(demo_data / 'videos/train'))
    planned = Packing(source, VideosAsMp4(), num_workers=1)
    estimate, num_tried, num_bad = planned.estimate(6)
    tally = planned.run(tmp_path / 'out')
    assert (estimate.num_files, num_tried, num_bad) == (len(source), 6, 0)
    assert estimate.bytes_in == pytest.approx(tally.bytes_in, rel=0.3)
    assert estimate.bytes_out == pytest.approx(tally.bytes_out, rel=0.3)
    assert estimate.num_frames == pytest.approx(tally.num_frames, rel=0.3)
