# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Bad files are replaced and listed, dead and hanging workers cost one sample, resume is exact."""

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate

from vicmae.datasets import ImageFolder, MixedDataset, MixtureSampler, SampleKey, VideoFolder
from vicmae.datasets.bad_files import BadFile, BadFileLedger
from vicmae.datasets.loader.build import build_loader
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.errors import ConfigError, DataError
from vicmae.testing import write_clip


class Files(Dataset):
    """A data set of numbers, some of which can't be read. Each sample returns its key."""

    kind = 'video'

    def __init__(
        self, size, *, bad=(), hang=(), abort=(), name='f', crash=(), slow=(), leave=(), visits=1
    ):
        self.size, self.name, self.visits_per_opening = size, name, visits
        self.leave = dict(leave)
        self.bad, self.hang, self.abort, self.crash = set(bad), set(hang), set(abort), set(crash)
        self.slow = set(slow)

    def __len__(self):
        return self.size

    def path_of(self, index):
        return f'{self.name}{index}'

    def __getitem__(self, key):
        if key.index in self.bad:
            raise DataError(f'{self.name}{key.index} is broken.')
        if key.index in self.hang:
            time.sleep(1000)
        if key.index in self.slow:
            time.sleep(3)
        if key.index in self.abort:
            faulthandler.disable()  # pytest's prints all stacks
            os.abort()
        if key.index in self.leave:
            self.leave[key.index]()
        if key.index in self.crash:
            raise KeyError('a mistake in the code')
        return torch.tensor([ord(self.name), *key, int(key.generator().integers(1 << 30))])


def make_loader(dataset, tmp_path=None, *, num_workers=0, batch_size=4, ledger=None, **options):
    sampler = MixtureSampler(dataset, seed=0)
    if ledger is None:
        path = tmp_path / 'bad_files.jsonl' if tmp_path else None
        ledger = BadFileLedger(path, max_fraction=1)
    return SteadyLoader(
        dataset,
        sampler=sampler,
        batch_size=batch_size,
        drop_last=True,
        num_workers=num_workers,
        ledger=ledger,
        **options,
    )


def batches(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


def listed(tmp_path):
    lines = (tmp_path / 'bad_files.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize('num_workers', [1, 2])
def test_samples_are_the_same_with_any_number_of_workers(num_workers):
    dataset = Files(22, bad=(3, 9))
    assert batches(make_loader(dataset, num_workers=num_workers)) == batches(make_loader(dataset))


def test_epoch_can_start_at_any_batch():
    loader = make_loader(Files(22, bad=(3,)))
    whole = batches(loader, epoch=2)
    for start in range(6):
        loader.skip(start)
        assert batches(loader, epoch=2) == whole[start:]
    assert batches(loader, epoch=2) == whole  # the next epoch begins at its beginning


def test_skipped_batches_are_not_loaded():
    class Counting(Files):
        opened = 0

        def __getitem__(self, key):
            self.opened += 1
            return super().__getitem__(key)

    dataset = Counting(40)
    loader = make_loader(dataset)
    loader.skip(8)
    assert len(batches(loader)) == 2
    assert dataset.opened == 8


def key_in(sample):
    return SampleKey(*sample[1:5])


def test_keys_of_any_batch_are_returned_without_moving_the_loader():
    loader = make_loader(Files(22))
    expected = {(e, n): b for e in (0, 3) for n, b in enumerate(batches(loader, epoch=e))}
    loader.sampler.set_epoch(0)
    delivered = []
    for batch in loader:
        for (epoch, number), samples in expected.items():
            assert loader.keys_of(epoch, number) == [key_in(sample) for sample in samples]
        delivered.append(batch.tolist())
    assert delivered == [expected[0, number] for number in range(5)]
    assert loader.file_of(loader.keys_of(0, 0)[0]) == f'f{expected[0, 0][0][3]}'


def test_reading_keys_does_not_change_the_random_state():
    loader = SteadyLoader(Files(8), batch_size=4, shuffle=True)
    state = torch.get_rng_state()
    assert len(loader.keys_of(0, 1)) == 4
    assert torch.equal(state, torch.get_rng_state())


def test_persistent_workers_serve_epoch_after_epoch():
    kept = make_loader(Files(12), num_workers=2, persistent_workers=True)
    assert [batches(kept, e) for e in range(3)] == [
        batches(make_loader(Files(12)), e) for e in range(3)
    ]


def test_bad_sample_is_replaced_by_another_of_its_source(tmp_path):
    dataset = MixedDataset(
        dict(images=Files(12, bad=(0, 5), name='i'), videos=Files(8, bad=(1,), name='v'))
    )
    loader = make_loader(dataset, tmp_path)
    seen = [tuple(row) for batch in batches(loader) for row in batch]
    assert loader.seen == {'images': 12, 'videos': 8}
    assert len(set(seen)) == 20  # also a replacement is a sample of its own
    assert {(row['file'], row['error']) for row in listed(tmp_path)} == {
        ('i0', 'i0 is broken.'),
        ('i5', 'i5 is broken.'),
        ('v1', 'v1 is broken.'),
    }


def test_replacements_of_two_samples_by_one_differ():
    ((first, second, third),) = batches(make_loader(Files(3, bad=(0, 1)), batch_size=3))
    assert first[3] == second[3] == third[3] == 2
    assert len({first[-1], second[-1], third[-1]}) == 3


class PartlyBad(Files):
    """A data set in which some visits fail, with those that are loaded together with them."""

    def __getitem__(self, key):
        if key.index in (2, 5) and key.visit % 4 == 1:
            raise DataError('damaged behind its middle.')
        return super().__getitem__(key)


@pytest.mark.parametrize('batch_size', [3, 4, 24])
def test_failed_visits_do_not_affect_others(batch_size):
    loader = make_loader(PartlyBad(6, visits=4), batch_size=batch_size)
    loader.sampler.counts = [24]
    rows = [tuple(row) for batch in batches(loader) for row in batch]
    assert loader.ledger.num_bad == len([row for row in rows if row[4] >= 1 << 20]) >= 2
    good = {(row[3], row[4]) for row in rows if row[3] in (2, 5) and row[4] < 4}
    assert good == {(index, visit) for index in (2, 5) for visit in (0, 2, 3)}


def test_bad_sample_is_left_out_without_replacement(tmp_path):
    dataset = Files(8, bad=(0, 1, 2, 3))
    loader = SteadyLoader(
        KeyByIndex(dataset), batch_size=4, ledger=BadFileLedger(max_fraction=1), replace=False
    )
    kept = list(loader)
    assert [len(batch) for batch in kept] == [4]  # and no empty batch
    assert kept[0][:, 3].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize('num_workers', [0, 1])
def test_stand_in_keeps_the_batch_size_and_is_not_counted(tmp_path, num_workers):
    loader = SteadyLoader(
        KeyByIndex(Files(10, bad=(0, 1, 2, 3, 5, 7))),
        batch_size=4,
        num_workers=num_workers,
        ledger=BadFileLedger(tmp_path / 'bad_files.jsonl', max_fraction=1),
        replace=False,
        stand_ins=True,
    )
    kept = [batch[:, 3].tolist() for batch in loader]
    assert [len(batch) for batch in kept] == [4, 4, 2]
    assert [kept[1][0], kept[1][2], *kept[2]] == [4, 6, 8, 9]
    assert set(kept[0] + kept[1]) <= {4, 6, 8, 9}
    assert loader.ledger.num_bad == len(listed(tmp_path)) == 6
    assert loader.ledger.num_samples == 10
    assert sum(loader.seen.values()) == 4


class KeyByIndex(Dataset):
    """A data set with plain indices, as from samplers of evaluation."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.files[SampleKey(0, 0, index)]

    def path_of(self, index):
        return self.files.path_of(index)


def test_each_bad_file_is_listed_once_and_counted_each_time(tmp_path):
    loader = make_loader(Files(12, bad=(3,)), tmp_path, num_workers=2)
    for epoch in range(3):
        batches(loader, epoch)
    assert [row['file'] for row in listed(tmp_path)] == ['f3']
    assert loader.ledger.num_bad >= 3


@pytest.mark.parametrize('num_workers', [0, 1])
def test_source_without_a_good_file_stops_the_run_and_lists_its_files(tmp_path, num_workers):
    dataset = MixedDataset(dict(images=Files(9, name='i'), videos=Files(7, bad=range(7), name='v')))
    ledger = BadFileLedger(tmp_path / 'bad_files.jsonl', judged_from=16)
    loader = make_loader(dataset, ledger=ledger, num_workers=num_workers)
    with pytest.raises(
        DataError,
        match=r"None of the 7 files of the source 'videos' could be read, such as .*: v\d is broken\. "
        r"'.*bad_files\.jsonl' lists them\. .*`vicmae verify",
    ):
        batches(loader)
    assert {row['file'] for row in listed(tmp_path)} == {f'v{n}' for n in range(7)}


def test_twenty_replacements_in_a_row_are_different(tmp_path):
    loader = make_loader(Files(24, bad=range(24)), tmp_path)
    with pytest.raises(DataError, match="20 files of the source 'videos' in a row could not be"):
        batches(loader)
    assert len({row['file'] for row in listed(tmp_path)}) == 20


def test_only_good_file_replaces_all_others():
    loader = make_loader(Files(12, bad=range(11)))
    assert {row[3] for batch in batches(loader) for row in batch} == {11}


def test_too_many_bad_files_stop_the_run_with_a_message(tmp_path):
    ledger = BadFileLedger(tmp_path / 'bad_files.jsonl', max_fraction=0.1, judged_from=20)
    loader = make_loader(Files(40, bad=range(0, 40, 4)), ledger=ledger)
    with pytest.raises(DataError, match=r'4 of \d+ samples .* `max_bad_fraction` 0.1'):
        batches(loader)


def test_bug_in_the_code_is_not_a_bad_file():
    with pytest.raises(KeyError, match='a mistake in the code'):
        batches(make_loader(Files(8, crash=(2,))))


def test_worker_that_aborts_costs_one_sample(tmp_path):
    torch.manual_seed(3)
    first = batches(
        make_loader(Files(24, abort=(7,)), tmp_path, num_workers=2, persistent_workers=True)
    )
    (row,) = listed(tmp_path)
    assert (row['file'], row['fatal']) == ('f7', True)
    assert 'SIGABRT' in row['error']
    # As if the file had been known as bad from the start: same places, same order, same random state.
    state = torch.get_rng_state()
    torch.manual_seed(3)
    assert first == batches(make_loader(Files(24, bad=(7,))))
    assert torch.equal(state, torch.get_rng_state())
    # After a resume the file isn't opened: without workers an abort would end this very process.
    resumed = make_loader(Files(24, abort=(7,)), tmp_path)
    resumed.skip(2)
    assert batches(resumed) == first[2:]


@pytest.mark.slow
def test_worker_that_hangs_costs_one_sample(tmp_path):
    loader = make_loader(Files(24, hang=(7,)), tmp_path, num_workers=2, sample_seconds=3)
    began = time.monotonic()
    assert batches(loader) == batches(make_loader(Files(24, bad=(7,))))
    assert time.monotonic() - began < 30
    (row,) = listed(tmp_path)
    assert row['error'] == 'Took longer than 3 s to load.'
    assert not loader._late  # a later process may have the number of the one that was killed


@pytest.mark.slow
def test_two_workers_that_die_cost_two_samples(tmp_path):
    dataset = Files(32, abort=(3, 20, 21))
    loader = make_loader(dataset, tmp_path, num_workers=4)
    assert batches(loader) == batches(make_loader(Files(32, bad=(3, 20, 21))))
    assert sorted(row['file'] for row in listed(tmp_path)) == ['f20', 'f21', 'f3']


@pytest.mark.slow
def test_reader_that_ends_its_worker_costs_its_sample(tmp_path):
    """With status 0, which is also that of a worker that was ended from outside."""
    leave = {i: partial(os._exit, 0) for i in (7, 20)}
    loader = make_loader(Files(24, leave=leave), tmp_path, num_workers=2)
    assert batches(loader) == batches(make_loader(Files(24, bad=leave)))
    assert {row['file'] for row in listed(tmp_path)} == {'f7', 'f20'}
    assert {row['error'] for row in listed(tmp_path)} == {
        'Killed the process that loaded it (exit 0).'
    }


def test_reader_that_raises_system_exit_costs_its_sample(tmp_path):
    leave = {5: partial(sys.exit, 3)}
    loader = make_loader(Files(24, leave=leave), tmp_path, num_workers=1)
    assert batches(loader) == batches(make_loader(Files(24, bad=(5,))))
    (row,) = listed(tmp_path)
    assert row['error'] == 'Its reader tried to exit the process (status 3).'
    assert not row['fatal']
    with pytest.raises(SystemExit):  # without workers, it may be meant for the run
        batches(make_loader(Files(24, leave=leave)))


@pytest.mark.slow
@pytest.mark.parametrize('visits', [1, 4])
def test_killed_sample_is_listed_once_with_its_epoch(tmp_path, visits):
    loader = make_loader(Files(24, abort=(7,), visits=visits), tmp_path, num_workers=2)
    loader.sampler.counts = [24 * visits]  # each file
    batches(loader, epoch=5)
    (row,) = listed(tmp_path)
    assert (row['epoch'], row['index'], row['visits']) == (5, 7, visits)
    known = make_loader(Files(24, bad=(7,), visits=visits))
    known.sampler.counts = [24 * visits]
    batches(known, epoch=5)
    assert loader.ledger.num_bad == known.ledger.num_bad
    assert loader.ledger.num_samples == known.ledger.num_samples


def test_file_that_killed_a_process_of_another_rank_is_not_opened(tmp_path):
    path = tmp_path / 'bad_files.jsonl'
    loader = make_loader(Files(24, abort=(7,)), tmp_path, num_workers=1, persistent_workers=True)
    loader.sampler.counts = [4]
    first = next(e for e in range(6) if 7 not in visited(loader.sampler, e))
    then = next(e for e in range(6) if 7 in visited(loader.sampler, e))
    batches(loader, first)
    others = BadFileLedger(path, max_fraction=1)
    others.add(BadFile('f7', 'video', 'It hung elsewhere.', 0, 7, fatal=True))
    known = make_loader(Files(24, bad=(7,)))
    known.sampler.counts = [4]
    assert batches(loader, then) == batches(known, then)
    assert [row['error'] for row in listed(tmp_path)] == ['It hung elsewhere.']


def visited(sampler, epoch):
    sampler.set_epoch(epoch)
    return [key.index for key in sampler]


def test_worker_killed_between_samples_costs_no_sample(tmp_path):
    loader = make_loader(Files(40), num_workers=1, prefetch_factor=1)
    got = []
    for batch in loader:
        got.append(batch.tolist())
        if len(got) == 1:
            time.sleep(0.5)  # the worker has filled its queue and rests
            os.kill(next(iter(loader._processes)), signal.SIGKILL)
    assert got == batches(make_loader(Files(40)))


@pytest.mark.slow
@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)]
)
def test_file_is_not_blamed_if_its_worker_was_ended_from_outside(tmp_path, number):
    loader = make_loader(Files(24, slow=(7,)), tmp_path, num_workers=1)
    killed = threading.Timer(1.0, lambda: os.kill(next(iter(loader._processes)), number))
    killed.start()
    got = batches(loader)
    killed.join()
    assert got == batches(make_loader(Files(24)))
    assert not (tmp_path / 'bad_files.jsonl').exists()


@pytest.mark.slow
def test_worker_whose_parent_was_killed_at_once_ends():
    """The process is killed while it starts its worker, before torch's worker records its parent."""
    code = (
        'import os, signal, sys, time\n'
        'from vicmae.datasets.loader.steady import SteadyLoader\n'
        '_fork = os.fork\n'
        'def fork():\n'
        '    pid = _fork()\n'
        '    if pid:\n'
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    print(os.getpid(), flush=True)\n'
        '    time.sleep(1)\n'
        '    return pid\n'
        'os.fork = fork\n'
        'next(iter(SteadyLoader(list(range(9)), num_workers=1, multiprocessing_context="fork")))\n'
    )
    # Comes back when nobody holds the output any more, the worker included.
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    assert int(ended.stdout) > 0


@pytest.mark.slow
def test_worker_that_sends_a_batch_ends_with_its_parent():
    """Ctrl-C also reaches workers: one that waits until its batch is received would wait for ever."""
    code = (
        'import os, signal, time\n'
        'from multiprocessing import active_children\n'
        'from vicmae.datasets.loader.steady import SteadyLoader\n'
        'samples = [bytes(1 << 20) for _ in range(64)]\n'  # more than a pipe holds
        'batches = iter(SteadyLoader(samples, batch_size=1, num_workers=2, collate_fn=list))\n'
        'next(batches)\n'
        'time.sleep(1)\n'
        'for worker in active_children():\n'
        '    os.kill(worker.pid, signal.SIGINT)\n'
        'time.sleep(0.5)\n'
        'os._exit(0)\n'
    )
    # Comes back when nobody holds the output any more, the workers included.
    subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=60, check=True)


def test_death_of_a_worker_does_not_interrupt_a_training_step(tmp_path):
    loader = make_loader(Files(24, abort=(23,)), tmp_path, num_workers=1, batch_size=2)
    got = []
    for batch in loader:
        got.append(batch.tolist())
        for _ in range(10):
            time.sleep(0.02)  # a step, in the middle of which the worker dies
    assert got == batches(make_loader(Files(24, bad=(23,)), batch_size=2))


def resident_kib(pid):
    """Returns the resident memory of a process, in KiB."""
    text = Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+) kB', text)[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_four_thousand_batches_with_five_percent_bad_keep_the_ledger_right_and_memory_flat(
    tmp_path,
):
    bad = range(0, 400, 20)
    sources = {name: Files(400, bad=bad, name=name[0], visits=2) for name in ('images', 'videos')}
    dataset = MixedDataset(sources)
    loader = make_loader(dataset, tmp_path, batch_size=8, num_workers=2, persistent_workers=True)
    memory, num_batches = [], 0
    for epoch in range(40):
        num_batches += len(batches(loader, epoch))
        memory.append(sum(map(resident_kib, [os.getpid(), *loader._processes])))
    assert num_batches == 4_000
    assert loader.seen == {'images': 16_000, 'videos': 16_000}
    assert [row['ok'] for row in listed(tmp_path)] == [False] * 40
    assert {row['file'] for row in listed(tmp_path)} == {f'{n}{i}' for n in 'iv' for i in bad}
    # Each bad one is met every second epoch, twice, and sometimes as a replacement of another.
    assert 1600 <= loader.ledger.num_bad < 1760
    assert max(memory[30:]) - max(memory[10:20]) < 2 * 1024


@pytest.fixture
def torn_files(tmp_path):
    """Writes a hundred images and a hundred videos, and truncates five of each, which it returns."""
    (tmp_path / 'files').mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(100, 40, 40, 3), dtype=np.uint8)
    torn = []
    for number, picture in enumerate(pixels):
        image, clip = (tmp_path / f'files/{number:03}.{suffix}' for suffix in ('jpg', 'mp4'))
        Image.fromarray(picture).save(image)
        write_clip(clip, 8)
        if number % 20 == 0:
            for path, size in [(image, 200), (clip, 400)]:
                path.write_bytes(path.read_bytes()[:-size])
                torn.append(str(path))
    return torn


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_real_images_and_videos_with_five_percent_torn_keep_the_ledger_right_and_memory_flat(
    torn_files, tmp_path
):
    views = dict(type='TwoViews', transforms=[dict(type='RandomResizedCrop', size=16)])
    rest = [views, dict(type='PackViews')]
    frames = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]
    root = str(tmp_path / 'files')
    images = ImageFolder(root, pipeline=[dict(type='LoadImage'), *rest])
    videos = VideoFolder(root, pipeline=[*frames, *rest])
    dataset = MixedDataset(dict(images=images, videos=videos))
    loader = make_loader(dataset, tmp_path, batch_size=10, num_workers=2, persistent_workers=True)
    memory = []
    for epoch in range(30):
        loader.sampler.set_epoch(epoch)
        assert sum(len(batch['inputs'][0]) for batch in loader) == 200
        memory.append(sum(map(resident_kib, [os.getpid(), *loader._processes])))
    assert loader.seen == {'images': 3000, 'videos': 3000}
    assert sorted(row['file'] for row in listed(tmp_path)) == sorted(torn_files)
    # Each torn one was met in each epoch, some also as a replacement of another.
    assert 300 <= loader.ledger.num_bad < 350
    assert max(memory[20:]) - max(memory[5:15]) < 4 * 1024


def collate_and_look(samples):
    """Returns, in the worker, whether the batch is already in shared memory, so that nothing is copied there."""
    batch = default_collate(samples)
    return batch, batch.is_shared()


def test_batches_come_in_shared_memory_without_a_second_copy():
    loader = make_loader(Files(8), num_workers=1, collate_fn=collate_and_look)
    for batch, was_shared in loader:
        assert was_shared and batch.is_shared()


@pytest.mark.parametrize('num_workers', [0, 1])
def test_samples_of_several_shapes_say_how_to_collate_them(num_workers):
    shapes = [(3, 8, 8), (3, 4, 8, 8)]
    samples = [dict(inputs=[torch.zeros(shape)]) for shape in shapes]
    loader = SteadyLoader(samples, batch_size=2, num_workers=num_workers)
    message = (
        r"^`train_dataloader.collate_fn` can't join .* \[\(3, 4, 8, 8\)\] and \[\(3, 8, 8\)\]. Set"
    )
    with pytest.raises(ConfigError, match=message):
        list(loader)
    with pytest.raises(ValueError, match='user'):  # other errors stay as they are
        list(SteadyLoader([1, 2], batch_size=2, collate_fn=fail_as_user))


def fail_as_user(samples):
    raise ValueError('user')


def test_sampler_gets_the_batch_size():
    assert make_loader(Files(8), batch_size=4).sampler.batch_size == 4


def test_options_are_checked():
    with pytest.raises(ValueError, match='`sample_seconds` must be positive, got 0'):
        SteadyLoader(Files(2), sample_seconds=0)


def test_collate_function_that_cannot_be_called_is_refused():
    config = dict(dataset=Files(2), batch_size=2)
    with pytest.raises(ConfigError, match='got None. Set `collate_fn=.*collate_by_kind'):
        build_loader(config | dict(collate_fn=None))
