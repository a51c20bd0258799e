# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packing of samples."""

import numpy as np
import torch

from vicmae.datasets import PackClip, PackViews
from vicmae.structures import UNCHANGED, as_vector


def frames(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8))


def test_views_are_packed_with_channels_first_and_augmentations():
    first, second = frames(2)
    augment = [as_vector(dict(flip=1)), as_vector(dict(hue=0.1))]
    rng = np.random.default_rng(0)
    packed = PackViews()(dict(views=[first, second], augment=augment, path='a.jpg', rng=rng))
    assert list(packed) == ['inputs', 'augment', 'seeds']
    for numbers, tensor in zip(augment, packed['augment'], strict=True):
        assert np.array_equal(tensor.numpy(), numbers)
    for view, tensor in zip([first, second], packed['inputs'], strict=True):
        assert tensor.dtype == torch.uint8
        assert tensor.is_contiguous()
        assert np.array_equal(tensor.permute(1, 2, 0).numpy(), view)


def test_finished_views_are_packed_with_empty_augmentations():
    packed = PackViews()(dict(views=frames(2), rng=np.random.default_rng(0)))
    assert [numbers.tolist() for numbers in packed['augment']] == [list(UNCHANGED.values())] * 2


def test_views_of_clips_are_packed_with_channels_before_time():
    clips = [frames(5)[:3], frames(5)[2:]]
    packed = PackViews()(dict(views=clips, rng=np.random.default_rng(0)))
    assert len(packed['augment']) == 2
    for clip, tensor in zip(clips, packed['inputs'], strict=True):
        assert tensor.shape == (3, 3, 4, 6)
        assert tensor.is_contiguous()
        assert np.array_equal(tensor.permute(1, 2, 3, 0).numpy(), clip)


def test_seed_of_the_masks_depends_on_the_sample():
    first, again, other = (
        PackViews()(dict(views=frames(2), rng=np.random.default_rng(seed)))['seeds']
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_clip_is_packed_with_label_and_origin():
    clip = frames(3)
    sample = dict(frames=clip, gt_label=2, path='a.mp4', kind='video', probe='videos', rng=None)
    packed = PackClip()(sample)
    assert packed['inputs'].shape == (3, 3, 4, 6)
    assert np.array_equal(packed['inputs'][1].permute(1, 2, 0).numpy(), clip[1])
    assert packed['data_samples'].gt_label.item() == 2
    meta = dict(packed['data_samples'].metainfo_items())
    assert meta == dict(path='a.mp4', kind='video', probe='videos')


def test_views_of_a_clip_are_packed_separately():
    views = frames(12)
    sample = dict(frames=views, gt_label=0, path='a.mp4', kind='video', num_clips=2, num_crops=3)
    inputs = PackClip()(sample)['inputs']
    assert inputs.shape == (6, 2, 3, 4, 6)
    assert np.array_equal(inputs[4, 1].permute(1, 2, 0).numpy(), views[9])
    assert PackClip()({**sample, 'num_clips': 1, 'num_crops': 1})['inputs'].shape == (12, 3, 4, 6)


def packed_times(views, **results):
    packed = PackViews(with_times=True)(dict(views=views, rng=np.random.default_rng(0), **results))
    assert all(time.dtype == torch.float32 for time in packed['times'])
    return [time.item() for time in packed['times']]


def test_times_are_those_of_the_first_and_last_frame_in_seconds():
    views = frames(2)
    assert packed_times(views, frame_ids=[15, 45], fps=30.0) == [0.5, 1.5]
    assert packed_times(views, frame_ids=[5, 10, 40], fps=10.0) == [0.5, 4.0]
    assert packed_times(views, frame_ids=[15], fps=30.0) == [0.5, 0.5]
    assert packed_times(views[:1], frame_ids=[15], fps=30.0) == [0.5]


def test_time_of_a_clip_is_that_of_its_middle():
    clips = [frames(3), frames(3)]
    ids = [0, 2, 4, 10, 12, 14]
    assert packed_times(clips, frame_ids=ids, num_clips=2, fps=4.0) == [0.5, 3.0]
    assert packed_times(clips[:1], frame_ids=ids, fps=4.0) == [1.75]


def test_time_of_images_is_0():
    assert packed_times(frames(2)) == [0.0, 0.0]


def test_times_change_nothing_else():
    results = dict(views=frames(2), frame_ids=[3, 9], fps=3.0)
    with_times, without = (
        PackViews(flag)(dict(results, rng=np.random.default_rng(0))) for flag in (True, False)
    )
    assert [time.item() for time in with_times.pop('times')] == [1.0, 3.0]
    assert with_times.keys() == without.keys()
    assert with_times['seeds'] == without['seeds']
