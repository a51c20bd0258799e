# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A sample's bytes depend only on (seed, epoch, index, visit), not on workers, ranks, or where a run is resumed."""

import shutil

import pytest
import torch

from vicmae.datasets import MixedDataset, MixtureSampler, OneSourceBatches
from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader.collate import collate_by_kind
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.structures import Mixed

STRONG = [
    dict(type='RandomResizedCrop', size=32),
    dict(type='RandomFlip'),
    dict(type='ColorJitter'),
    dict(type='RandomGrayscale'),
    dict(type='GaussianBlur'),
]


def make_loader(
    root,
    num_workers=0,
    *,
    rank=0,
    world_size=1,
    batch_size=4,
    on_device=True,
    seed=0,
    visits=2,
    max_fraction=0.01,
):
    views = [dict(type='TwoViews', transforms=STRONG, on_device=on_device), dict(type='PackViews')]
    read = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]
    mixed = MixedDataset(
        dict(
            images=dict(
                type='ImageFolder',
                data_root=f'{root}/images/train',
                pipeline=[dict(type='LoadImage'), *views],
            ),
            videos=dict(
                type='VideoFolder',
                data_root=f'{root}/videos/train',
                pipeline=[*read, *views],
                visits_per_opening=visits,
            ),
        )
    )
    sampler = MixtureSampler(mixed, seed=seed, samples_per_epoch=32)
    sampler.rank, sampler.world_size = rank, world_size
    return SteadyLoader(
        mixed,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        ledger=BadFileLedger(max_fraction=max_fraction),
    )


def samples(loader, epoch=1, skip=0):
    """Returns the samples of an epoch in order, each as one row of bytes."""
    loader.sampler.set_epoch(epoch)
    loader.skip(skip)
    rows = []
    for batch in loader:
        parts = [*batch['inputs'], *(v.contiguous().view(torch.uint8) for v in batch['augment'])]
        rows += list(torch.cat([part.flatten(1) for part in parts], dim=1))
    return [bytes(row.numpy()) for row in rows]


@pytest.fixture(scope='module')
def expected(demo_data):
    return samples(make_loader(demo_data))


@pytest.mark.parametrize('num_workers', [1, 8])
def test_bytes_are_the_same_with_any_number_of_workers(demo_data, expected, num_workers):
    assert samples(make_loader(demo_data, num_workers)) == expected
    assert len(set(expected)) == 32


def test_bytes_are_the_same_on_one_rank_and_on_four(demo_data, expected):
    parts = [samples(make_loader(demo_data, rank=r, world_size=4)) for r in range(4)]
    assert sorted(row for part in parts for row in part) == sorted(expected)


@pytest.fixture(scope='module')
def damaged_data(demo_data, tmp_path_factory):
    """Copies the demo data, and damages each video in the middle."""
    root = tmp_path_factory.mktemp('damaged') / 'data'
    shutil.copytree(demo_data, root)
    for path in sorted((root / 'videos/train').rglob('*.mp4')):
        content = path.read_bytes()
        hole = (content.index(b'mdat') + 2 * len(content)) // 3
        path.write_bytes(content[:hole] + bytes(500) + content[hole + 500 :])
    return root


def test_bytes_of_videos_damaged_in_part_are_the_same_on_one_rank_and_on_four(damaged_data):
    def loader(**options):
        return make_loader(damaged_data, visits=4, max_fraction=1, **options)

    alone = loader(batch_size=8)
    expected = samples(alone)
    parts = [samples(loader(rank=r, world_size=4, batch_size=2)) for r in range(4)]
    assert sorted(row for part in parts for row in part) == sorted(expected)
    assert 0 < alone.ledger.num_bad < alone.seen['videos']  # and others to the same videos are good


@pytest.mark.parametrize('skip', [1, 3, 7])
def test_bytes_are_the_same_after_resuming_in_mid_epoch(demo_data, expected, skip):
    assert samples(make_loader(demo_data), skip=skip) == expected[4 * skip :]


def test_bytes_do_not_depend_on_the_size_of_a_batch(demo_data, expected):
    assert samples(make_loader(demo_data, batch_size=7)) == expected


def test_bytes_do_not_depend_on_global_random_numbers(demo_data, expected):
    torch.manual_seed(99)
    assert samples(make_loader(demo_data)) == expected


def test_other_epochs_and_seeds_give_other_bytes(demo_data, expected):
    assert not set(samples(make_loader(demo_data), epoch=2)) & set(expected)
    assert not set(samples(make_loader(demo_data, seed=1))) & set(expected)


def make_clip_loader(root, batches, num_workers=0, *, rank=0, world_size=1):
    """Makes a loader of images and clips, both in a batch ('mixed') or one a step ('one source')."""
    views = dict(transforms=STRONG, on_device=True)
    clips = [
        dict(type='OpenVideo'),
        dict(type='DistantClips', num_segments=1, clip_len=4, frame_stride=2),
        dict(type='DecodeFrames'),
        dict(type='ClipViews', **views),
    ]
    pipelines = dict(Image=[dict(type='LoadImage'), dict(type='OneView', **views)], Video=clips)
    pack = dict(type='PackViews')
    sources = {
        f'{kind.lower()}s': dict(
            type=f'{kind}Folder',
            data_root=f'{root}/{kind.lower()}s/train',
            pipeline=[*pipeline, pack],
            visits_per_opening=4 if kind == 'Video' else 1,
        )
        for kind, pipeline in pipelines.items()
    }
    mixed = MixedDataset(sources, weights=dict(images=1, videos=1))
    sampler = MixtureSampler(mixed, seed=0, samples_per_epoch=32)
    sampler.rank, sampler.world_size = rank, world_size
    options = dict(num_workers=num_workers, collate_fn=collate_by_kind)
    if batches == 'mixed':
        return SteadyLoader(mixed, sampler=sampler, batch_size=4, **options)
    return SteadyLoader(mixed, batch_sampler=OneSourceBatches(sampler, 4), **options)


def clip_samples(loader, skip=0):
    """Returns the samples of an epoch in order, each as its shape, its bytes, its augmentations and its seed."""
    loader.skip(skip)
    rows = []
    for batch in loader:
        kinds = batch.batches if isinstance(batch, Mixed) else [batch]
        rows += [
            (view.shape, view.numpy().tobytes(), augment.numpy().tobytes(), int(seed))
            for one in kinds
            for view, augment, seed in zip(*one.inputs, *one['augment'], one['seeds'], strict=True)
        ]
    return rows


@pytest.fixture(scope='module', params=['mixed', 'one source'])
def clips(request, demo_data):
    return request.param, clip_samples(make_clip_loader(demo_data, request.param))


def test_epoch_has_images_and_clips_and_no_sample_twice(clips):
    assert len(clips[1]) == 32
    assert sorted({shape for shape, *_ in clips[1]}) == [(3, 4, 32, 32), (3, 32, 32)]
    assert len(set(clips[1])) == 32


def test_clips_are_the_same_with_any_number_of_workers(demo_data, clips):
    for num_workers in (1, 2):
        assert clip_samples(make_clip_loader(demo_data, clips[0], num_workers)) == clips[1]


def test_clips_are_the_same_on_one_rank_and_on_two(demo_data, clips):
    parts = [
        clip_samples(make_clip_loader(demo_data, clips[0], rank=rank, world_size=2))
        for rank in range(2)
    ]
    assert len(parts[0]) == len(parts[1]) == 16
    assert sorted(row for part in parts for row in part) == sorted(clips[1])


@pytest.mark.parametrize('skip', [1, 6])
def test_clips_are_the_same_after_resuming_in_mid_epoch(demo_data, clips, skip):
    assert clip_samples(make_clip_loader(demo_data, clips[0]), skip) == clips[1][4 * skip :]
