# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which frames of a video are looked at."""

import numpy as np
import pytest

from vicmae.datasets import DistantFramePair, UniformFrames


def draw(transform, num_frames, fps=30.0, count=2000):
    """Frame numbers of many visits, (count, frames)."""
    rng = np.random.default_rng(0)
    return np.array(
        [
            transform(dict(num_frames=num_frames, fps=fps, rng=rng))['frame_ids']
            for _ in range(count)
        ]
    )


def test_one_frame_comes_from_each_segment_of_the_window():
    ids = draw(DistantFramePair(num_segments=4, window_seconds=None), num_frames=40)
    assert ids.shape == (2000, 4)
    assert (ids // 10 == np.arange(4)).all()
    # Every frame of a segment is drawn, about as often as the others: 200 times each, give or take 5 sigma.
    counts = np.bincount(ids.ravel(), minlength=40)
    assert np.abs(counts - 200).max() < 70


def test_default_pair_lies_a_second_apart_on_average_as_in_the_paper():
    ids = draw(DistantFramePair(), num_frames=300, count=20000)
    gaps = (ids[:, 1] - ids[:, 0]) / 30
    assert gaps.mean() == pytest.approx(1.07, rel=0.02)
    assert gaps.min() > 0
    assert gaps.max() < 64 / 30


def test_window_is_in_seconds_whatever_the_frame_rate():
    slow, fast = (draw(DistantFramePair(), num_frames=10 * fps, fps=fps) for fps in (15, 60))
    assert np.diff(slow).mean() / 15 == pytest.approx(np.diff(fast).mean() / 60, rel=0.05)


def test_window_lies_anywhere_inside_the_video():
    ids = draw(DistantFramePair(), num_frames=100, count=20000)
    assert ids.min() == 0
    assert ids.max() == 99
    assert (ids[:, 1] - ids[:, 0]).max() < 64


@pytest.mark.parametrize('num_frames', [2, 3, 10, 63])
def test_video_shorter_than_the_window_is_taken_whole(num_frames):
    ids = draw(DistantFramePair(), num_frames)
    assert set(ids.ravel()) == set(range(num_frames))
    assert (ids[:, 0] * 2 < num_frames).all()
    assert (ids[:, 1] * 2 >= num_frames - 1).all()


def test_single_frame_is_taken_twice():
    assert (draw(DistantFramePair(), num_frames=1, count=10) == 0).all()


def test_same_generator_state_gives_the_same_pair():
    assert (draw(DistantFramePair(), 90, count=5) == draw(DistantFramePair(), 90, count=5)).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_segments=1), '`num_segments` must be at least 2 for a pair, got 1'),
        (dict(window_seconds=0), '`window_seconds` must be positive, got 0. None takes the whole'),
    ],
)
def test_pairs_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DistantFramePair(**options)


def test_uniform_frames_are_the_middles_of_equal_segments():
    assert UniformFrames(4)(dict(num_frames=40))['frame_ids'] == [5, 15, 25, 35]
    assert UniformFrames(1)(dict(num_frames=41))['frame_ids'] == [20]
    assert UniformFrames(4)(dict(num_frames=2))['frame_ids'] == [0, 0, 1, 1]
    assert UniformFrames(3)(dict(num_frames=1))['frame_ids'] == [0, 0, 0]


def test_no_uniform_frames_are_refused():
    with pytest.raises(ValueError, match='`num_frames` must be positive, got 0'):
        UniformFrames(0)
