# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.aggregators import (
    AttentionOverTime,
    AttentionPooling,
    MeanOverTime,
    StatisticsOverTime,
)
from vicmae.testing import randomize


def trained():
    return randomize(AttentionOverTime(8, 2).double())


def features(num_frames=5):
    return torch.randn(3, num_frames, 8, dtype=torch.float64)


def test_mean_is_taken_over_the_frames_of_each_clip():
    frames = features()
    expected = torch.stack([sum(clip[t] for t in range(5)) / 5 for clip in frames])
    torch.testing.assert_close(MeanOverTime()(frames), expected)


@pytest.mark.parametrize('num_frames', [2, 5, 8])
def test_statistics_are_mean_half_difference_of_the_halves_and_spread(num_frames):
    frames = features(num_frames)
    expected = []
    for clip in frames:
        half = num_frames // 2  # of an odd number, the middle frame is in neither
        change = (sum(clip[-half:]) - sum(clip[:half])) / half / 2
        mean = sum(clip) / num_frames
        spread = (sum((frame - mean) ** 2 for frame in clip) / num_frames).sqrt()
        expected.append(torch.cat([mean, change, spread]))
    torch.testing.assert_close(StatisticsOverTime()(frames), torch.stack(expected))


def test_statistics_of_one_frame_are_the_frame_and_no_change():
    frames = features(1)
    expected = torch.cat([frames[:, 0], torch.zeros(3, 16).double()], dim=1)
    torch.testing.assert_close(StatisticsOverTime()(frames), expected)


def test_change_has_the_opposite_sign_where_the_clip_runs_backward():
    frames = features(6)
    forward, backward = StatisticsOverTime()(frames), StatisticsOverTime()(frames.flip(1))
    torch.testing.assert_close(forward[:, 8:16], -backward[:, 8:16])
    torch.testing.assert_close(forward[:, :8], backward[:, :8])


def test_attention_over_time_equals_attention_over_patches():
    over_time, frames = trained(), features()
    over_patches = AttentionPooling(8, 2).double()
    over_patches.load_state_dict(over_time.state_dict())
    assert torch.equal(over_time(frames), over_patches(frames, None))


@pytest.mark.parametrize('pool', [MeanOverTime(), trained()], ids=['mean', 'attention'])
def test_repeated_frames_count_once_and_order_does_not_matter(pool):
    frames = features()
    torch.testing.assert_close(pool(frames.repeat(1, 3, 1)), pool(frames))
    torch.testing.assert_close(pool(frames.flip(1)), pool(frames))
