# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Sampling of the frames of a video."""

from collections import Counter

import numpy as np
import pytest

from vicmae.datasets import (
    DistantClips,
    DistantFramePair,
    FixedGapFramePair,
    SameFramePair,
    UniformClips,
    UniformFramePair,
    UniformFrames,
    VideoFolder,
)
from vicmae.errors import ConfigError


def draw(transform, num_frames, fps=30.0, count=2000):
    """Draws the frame numbers of many visits, (count, frames)."""
    rng = np.random.default_rng(0)
    return np.array(
        [
            transform(dict(num_frames=num_frames, fps=fps, rng=rng))['frame_ids']
            for _ in range(count)
        ]
    )


def assert_equally_often(values, choices):
    """Asserts that each choice is drawn equally often, within 5 sigma."""
    counts = np.array([(values == choice).sum() for choice in choices])
    expected = len(values) / len(choices)
    assert counts.sum() == len(values)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_one_frame_comes_from_each_segment_of_the_window():
    ids = draw(DistantFramePair(num_segments=4, window_seconds=None), num_frames=40)
    assert ids.shape == (2000, 4)
    assert (ids // 10 == np.arange(4)).all()
    # Every frame of a segment is drawn, about as often as the others: 200 times each, give or take 5 sigma.
    counts = np.bincount(ids.ravel(), minlength=40)
    assert np.abs(counts - 200).max() < 70


def test_default_pair_is_a_second_apart_on_average_as_in_the_paper():
    ids = draw(DistantFramePair(), num_frames=300, count=20000)
    gaps = (ids[:, 1] - ids[:, 0]) / 30
    assert gaps.mean() == pytest.approx(1.07, rel=0.02)
    assert gaps.min() > 0
    assert gaps.max() < 64 / 30


def test_window_is_in_seconds_at_any_frame_rate():
    slow, fast = (draw(DistantFramePair(), num_frames=10 * fps, fps=fps) for fps in (15, 60))
    assert np.diff(slow).mean() / 15 == pytest.approx(np.diff(fast).mean() / 60, rel=0.05)


def test_window_is_anywhere_in_the_video():
    ids = draw(DistantFramePair(), num_frames=100, count=20000)
    assert ids.min() == 0
    assert ids.max() == 99
    assert (ids[:, 1] - ids[:, 0]).max() < 64


@pytest.mark.parametrize('num_frames', [2, 3, 10, 63])
def test_video_shorter_than_the_window_is_used_whole(num_frames):
    ids = draw(DistantFramePair(), num_frames)
    assert set(ids.ravel()) == set(range(num_frames))
    assert (ids[:, 0] * 2 < num_frames).all()
    assert (ids[:, 1] * 2 >= num_frames - 1).all()


def test_single_frame_is_used_twice():
    assert (draw(DistantFramePair(), num_frames=1, count=10) == 0).all()


@pytest.mark.parametrize(
    'sampler', [DistantFramePair(), SameFramePair(), FixedGapFramePair(), UniformFramePair(1.0)]
)
def test_frames_depend_on_the_generator_state(sampler):
    assert (draw(sampler, 90, count=5) == draw(sampler, 90, count=5)).all()
    assert len(np.unique(draw(sampler, 90, count=5), axis=0)) > 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_segments=1), '`num_segments` must be at least 2 for a pair, got 1'),
        (dict(window_seconds=0), '`window_seconds` must be positive, got 0. None takes the whole'),
        (dict(window_frames=1), '`window_frames` must be at least 2, got 1'),
    ],
)
def test_invalid_options_of_pairs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DistantFramePair(**options)


def test_same_frame_is_one_drawn_uniformly_from_the_video():
    ids = draw(SameFramePair(), num_frames=20)
    assert ids.shape == (2000, 1)
    assert_equally_often(ids[:, 0], range(20))
    assert (draw(SameFramePair(), num_frames=1, count=10) == 0).all()


@pytest.mark.parametrize('gap', [1, 2, 4, 8, 19])
def test_fixed_gap_is_exact_and_anywhere_in_the_video(gap):
    ids = draw(FixedGapFramePair(gap), num_frames=20)
    assert (np.diff(ids) == gap).all()
    assert_equally_often(ids[:, 0], range(20 - gap))


@pytest.mark.parametrize(('fps', 'frames'), [(30.0, 15), (25.0, 12), (29.97, 15), (1.0, 1)])
def test_gap_in_seconds_follows_the_frame_rate_and_is_at_least_a_frame(fps, frames):
    ids = draw(FixedGapFramePair(0.5, unit='second'), num_frames=20, fps=fps)
    assert (np.diff(ids) == frames).all()
    assert_equally_often(ids[:, 0], range(20 - frames))


@pytest.mark.parametrize('num_frames', [1, 2, 4])
def test_video_too_short_for_the_gap_gives_its_first_and_last_frame(num_frames):
    assert not FixedGapFramePair(4).fits(num_frames, fps=30.0)
    assert (draw(FixedGapFramePair(4), num_frames, count=10) == (0, num_frames - 1)).all()


def test_gap_fits_videos_with_one_more_frame():
    assert FixedGapFramePair(4).fits(5, fps=30.0)
    assert FixedGapFramePair(2, unit='second').fits(61, fps=30.0)
    assert not FixedGapFramePair(2, unit='second').fits(60, fps=30.0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(gap=0),
            '`gap` must be positive, got 0. Use SameFramePair for two views of one frame',
        ),
        (dict(gap=-4), '`gap` must be a positive number, got -4'),
        (dict(gap=float('inf')), '`gap` must be a positive number, got inf'),
        (
            dict(gap=0.5),
            "must be an integer number of frames, got 0.5. For seconds, set `unit='second'`",
        ),
        (dict(unit='seconds'), "`unit` must be one of frame, second, got 'seconds'"),
    ],
)
def test_invalid_gaps_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FixedGapFramePair(**options)


def test_uniform_pair_is_any_two_frames_sorted_by_time():
    first, second = draw(UniformFramePair(), num_frames=6, count=3000).T
    pairs = [10 * i + j for i in range(6) for j in range(i + 1, 6)]
    assert len(pairs) == 15
    assert_equally_often(10 * first + second, pairs)


def test_uniform_pair_is_in_a_window_anywhere_in_the_video():
    ids = draw(UniformFramePair(0.5), num_frames=12, fps=10.0)  # 5 frames, from 8 places on
    gaps = np.diff(ids)[:, 0]
    assert set(gaps) == {1, 2, 3, 4}
    assert gaps.mean() == pytest.approx(2.0, abs=0.1)  # of 10 pairs: 4, 3, 2, 1
    assert set(ids.ravel()) == set(range(12))


def test_uniform_pair_of_a_tiny_window_has_adjacent_frames():
    assert (np.diff(draw(UniformFramePair(0.01), num_frames=12)) == 1).all()


def test_uniform_pair_of_a_short_video_uses_all_of_it():
    assert (draw(UniformFramePair(), num_frames=1, count=10) == 0).all()
    assert (draw(UniformFramePair(9.0), num_frames=2, count=10) == (0, 1)).all()


def test_uniform_frames_are_the_middle_frames_of_equal_segments():
    assert UniformFrames(4)(dict(num_frames=40))['frame_ids'] == [5, 15, 25, 35]
    assert UniformFrames(1)(dict(num_frames=41))['frame_ids'] == [20]
    assert UniformFrames(4)(dict(num_frames=2))['frame_ids'] == [0, 0, 1, 1]
    assert UniformFrames(3)(dict(num_frames=1))['frame_ids'] == [0, 0, 0]


def test_several_clips_of_uniform_frames_interleave():
    results = UniformFrames(3, num_clips=2)(dict(num_frames=120))
    assert results['frame_ids'] == [10, 50, 90, 30, 70, 110]
    assert (results['num_clips'], results['clip_len']) == (2, 3)
    everything = UniformFrames(4, num_clips=5)(dict(num_frames=20))['frame_ids']
    assert sorted(everything) == list(range(20))


class Clock:
    """A reader of frames shown at given times."""

    def __init__(self, times):
        self.times = np.asarray(times)

    def ids_at(self, seconds):
        return (np.searchsorted(self.times, seconds, side='right') - 1).clip(0).tolist()


@pytest.mark.parametrize('sampler', [DistantFramePair, UniformFramePair])
def test_window_may_be_given_in_frames(sampler):
    for fps in (5.0, 60.0):
        ids = draw(sampler(window_frames=8), num_frames=50, fps=fps)
        assert np.diff(ids).min() == 1
        assert np.diff(ids).max() == 7


def draw_with_clock(transform, times, count=2000):
    rng = np.random.default_rng(0)
    known = dict(
        num_frames=len(times), fps=(len(times) - 1) / times[-1], rng=rng, reader=Clock(times)
    )
    return np.array([transform(dict(known))['frame_ids'] for _ in range(count)])


@pytest.mark.parametrize(
    'sampler', [DistantFramePair(), UniformFramePair(2.0), FixedGapFramePair(1, unit='second')]
)
def test_constant_frame_rate_changes_nothing(sampler):
    times = np.arange(121) / 30
    with_clock = draw_with_clock(sampler, times, count=50)
    without = draw(sampler, 121, fps=(len(times) - 1) / times[-1], count=50)
    assert (with_clock == without).all()


def test_gap_in_seconds_is_true_time_where_the_frame_rate_varies():
    # Ten seconds at 50 frames a second, then ten at 5.
    times = np.concatenate([np.arange(500) / 50, 10 + np.arange(51) / 5])
    ids = draw_with_clock(FixedGapFramePair(2.0, unit='second'), times)
    gaps = times[ids[:, 1]] - times[ids[:, 0]]
    assert np.abs(gaps - 2.0).max() <= 0.25  # to a frame of the slow half
    by_frames = draw_with_clock(FixedGapFramePair(round(2.0 * 27.55)), times)
    assert np.ptp(times[by_frames[:, 1]] - times[by_frames[:, 0]]) > 3


def test_pair_has_two_frames_if_there_are_two():
    times = np.array([0.0, 9.0, 9.1, 9.2])
    ids = draw_with_clock(UniformFramePair(), times, count=200)
    assert (np.diff(ids) >= 1).all()
    assert ids.min() >= 0 and ids.max() <= 3


@pytest.mark.parametrize(
    ('sampler', 'what'),
    [
        (DistantFramePair(), 'shorter than the window'),
        (UniformFramePair(9.0), 'shorter than the window'),
        (FixedGapFramePair(40), 'shorter than the frame gap'),
        (DistantClips(clip_len=8), 'shorter than a clip'),
    ],
)
def test_video_that_is_too_short_is_counted(sampler, what):
    for num_frames, times in [(20, 1), (999, 0)]:
        notes = Counter()
        sampler(dict(num_frames=num_frames, fps=30.0, rng=np.random.default_rng(0), notes=notes))
        assert sum(count for text, count in notes.items() if what in text) == times


def test_each_segment_has_one_clip():
    ids = draw(DistantClips(3, clip_len=4, frame_stride=5), num_frames=90).reshape(-1, 3, 4)
    assert (np.diff(ids, axis=2) == 5).all()
    assert (ids // 30 == np.arange(3)[:, None]).all()
    assert_equally_often(ids[:, 1, 0], range(30, 45))


def test_clip_longer_than_its_segment_is_inside_the_video():
    ids = draw(DistantClips(3, clip_len=8, frame_stride=5), num_frames=60).reshape(-1, 3, 8)
    assert (np.diff(ids, axis=2) == 5).all()
    assert ids.min() >= 0 and ids.max() <= 59


def test_clip_longer_than_the_video_repeats_the_last_frame():
    ids = draw(DistantClips(2, clip_len=4, frame_stride=2), num_frames=3, count=20)
    assert (ids.reshape(-1, 2, 4) == [0, 2, 2, 2]).all()


@pytest.mark.parametrize('step', ['DistantFramePair', 'UniformFrames', 'DecodeFrames'])
def test_pipeline_without_an_open_video_is_refused(demo_data, step):
    root, sampler = str(demo_data / 'videos/train'), dict(type=step)
    with pytest.raises(ConfigError, match=f'{step} needs an open video, but no earlier transform'):
        VideoFolder(root, pipeline=[sampler, dict(type='OpenVideo')])
    VideoFolder(root, pipeline=[dict(type='OpenVideo'), sampler])
    VideoFolder(root, pipeline=[lambda results: results, sampler])  # which may open one


def test_clip_of_one_segment_is_anywhere_in_the_video():
    ids = draw(DistantClips(1, clip_len=4, frame_stride=3), num_frames=30)
    assert (np.diff(ids, axis=1) == 3).all()
    assert_equally_often(ids[:, 0], range(21))


def test_uniform_clips_are_evenly_spaced_from_first_to_last_frame():
    results = UniformClips(5, clip_len=4, frame_stride=3)(dict(num_frames=50))
    ids = np.array(results['frame_ids']).reshape(5, 4)
    assert ids[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert (np.diff(ids, axis=1) == 3).all()
    assert ids.max() == 49
    assert (results['num_clips'], results['clip_len']) == (5, 4)


def test_single_uniform_clip_is_in_the_middle():
    ids = UniformClips(1, clip_len=4, frame_stride=2)(dict(num_frames=17))['frame_ids']
    assert ids == [5, 7, 9, 11]


def test_uniform_clip_longer_than_the_video_repeats_the_last_frame():
    notes = Counter()
    results = UniformClips(2, clip_len=4, frame_stride=2)(dict(num_frames=3, notes=notes))
    assert results['frame_ids'] == [0, 2, 2, 2] * 2
    assert list(notes) == [
        'a video shorter than a clip: last frame repeated (`frame_stride=` lowers its length)'
    ]


@pytest.mark.parametrize('name', ['num_clips', 'clip_len', 'frame_stride'])
def test_invalid_uniform_clips_are_refused(name):
    with pytest.raises(ValueError, match=f'`{name}` must be positive, got 0'):
        UniformClips(**{name: 0})
