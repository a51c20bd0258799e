# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vicmae.data_tools.gaps import draw_gaps
from vicmae.datasets.sources.source import Source
from vicmae.errors import ConfigError
from vicmae.structures import NO_LABEL

from .toy_video import ToyVideo


class Lengths(Source):
    """Videos of these lengths, no frame of which can be decoded; one of no frames can't be opened."""

    kind = 'video'

    def __init__(self, lengths, *samplers):
        decode = [dict(type='DecodeFrames')] if samplers else []
        super().__init__(pipeline=[dict(type='OpenVideo'), *samplers, *decode])
        self.readers = [
            ToyVideo(length, range(length), fps=100.0) if length else 'no.mp4' for length in lengths
        ]

    def __len__(self):
        return len(self.readers)

    def get_data_info(self, index):
        return dict(path=f'{index}.mp4', gt_label=NO_LABEL, media=self.readers[index])


def distant(window_seconds):
    return dict(type='DistantFramePair', window_seconds=window_seconds)


def test_gaps_of_distant_pairs_follow_the_triangular_law():
    drawn = draw_gaps(Lengths([1000] * 50, distant(2.0)), num_draws=4000)
    assert len(drawn.seconds) == 4000
    # The difference of two uniform numbers from neighbouring halves of the window.
    assert drawn.seconds.mean() == pytest.approx(1.0, abs=4 * 0.41 / 4000**0.5)
    shares = [np.mean(drawn.seconds < bound) for bound in (0.5, 1.0, 1.5)]
    assert shares == pytest.approx([0.125, 0.5, 0.875], abs=0.03)
    assert 0 < drawn.seconds.min() <= drawn.seconds.max() < 2


def test_fixed_gap_is_the_only_one():
    sampler = dict(type='FixedGapFramePair', gap=0.25, unit='second')
    drawn = draw_gaps(Lengths([100, 300], sampler), num_draws=10)
    assert drawn.seconds.tolist() == [0.25] * 10
    assert drawn.sampler == "FixedGapFramePair(gap=0.25, unit='second')"


def test_videos_shorter_than_the_window_are_counted_once_each():
    drawn = draw_gaps(Lengths([500, 50, 500, 50, 500, 50], distant(2.0)), num_draws=60)
    assert drawn.num_videos == 6
    assert list(drawn.notes.values()) == [3]
    (note,) = drawn.notes
    assert 'shorter than the window' in note


def test_each_video_has_equally_many_pairs():
    few, many = Lengths([100] * 3, distant(0.5)), Lengths([100] * 40, distant(0.5))
    assert len(draw_gaps(few, num_draws=30).seconds) == 30
    drawn = draw_gaps(many, num_draws=10)
    assert (len(drawn.seconds), drawn.num_videos) == (10, 10)
    assert sum(reader.closed for reader in many.readers) == 10


def test_same_seed_draws_the_same_gaps():
    source = Lengths([100] * 20, distant(0.5))
    first, again, other = (draw_gaps(source, num_draws=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.seconds, again.seconds)
    assert not np.array_equal(first.seconds, other.seconds)


def test_videos_that_cannot_be_opened_are_named_and_the_others_drawn_from():
    drawn = draw_gaps(Lengths([100, 0, 100, 0], distant(0.5)), num_draws=40)
    assert sorted(drawn.bad) == ['1.mp4', '3.mp4']
    assert all("'1.mp4'" in r or "'3.mp4'" in r for r in drawn.bad.values())
    assert (len(drawn.seconds), drawn.num_videos) == (20, 2)


def test_source_of_broken_videos_gives_no_gaps():
    drawn = draw_gaps(Lengths([0, 0], distant(0.5)), num_draws=4)
    assert (len(drawn.seconds), drawn.num_videos, len(drawn.bad)) == (0, 0, 2)


def test_pipeline_that_chooses_no_frames_has_no_gaps():
    with pytest.raises(ConfigError, match=r'has no gaps\. Put a frame sampler'):
        draw_gaps(Lengths([100]), num_draws=4)
