# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from xml.etree import ElementTree

import numpy as np
import pytest

from vicmae.visualization.histogram import histogram, histogram_chart, histogram_text


@pytest.mark.parametrize('scale', [1e-3, 1.0, 7e4])
@pytest.mark.parametrize('shift', [0.0, -0.4, 3.0])
def test_every_value_lies_in_one_bin_and_bins_touch(scale, shift):
    values = (np.random.default_rng(0).random(1000) + shift) * scale
    bins = histogram(values)
    assert 8 <= len(bins) <= 20
    assert [b.low for b in bins[1:]] == [b.high for b in bins[:-1]]
    counts = [np.sum((values >= b.low) & (values < b.high)) for b in bins]
    assert [b.share for b in bins] == pytest.approx([count / 10 for count in counts])
    assert sum(counts) == 1000


def test_bounds_are_round_and_a_value_on_a_bound_opens_its_bin():
    bins = histogram([0.0, 0.1 + 0.2, 1.9])
    assert [b.low for b in bins[:4]] == [0.0, 0.1, 0.2, 0.3]
    assert [b.share for b in bins[:4]] == pytest.approx([100 / 3, 0, 0, 100 / 3])


@pytest.mark.parametrize('value', [0.0, 1.0, -2.5])
def test_equal_values_make_one_bin(value):
    (only,) = histogram([value] * 5)
    assert only.low <= value < only.high
    assert only.share == 100


def test_bars_of_the_chart_are_as_high_as_their_shares():
    values = [0.5] * 30 + [1.5] * 10 + [2.5] * 60
    root = ElementTree.fromstring(histogram_chart(values, x_label='gap, s'))
    heights = [float(node.get('height')) for node in root.iter('rect')]
    tall = [height for height in heights if height > 0]
    assert np.array(tall) / max(tall) == pytest.approx([0.5, 1 / 6, 1], abs=0.01)
    labels = [node.text for node in root.iter('text')]
    assert 'mean 1.80' in labels
    assert 'gap, s' in labels


def test_text_has_a_line_per_bin_and_its_longest_bar_is_the_fullest_bin():
    values = np.repeat([0.0, 1.0, 2.0], [10, 40, 20])
    lines = histogram_text(values, unit='s').splitlines()
    full = [line for line in lines if '#' in line]
    assert [line.count('#') for line in full] == [10, 40, 20]
    assert [float(line.split()[-2]) for line in full] == [14.3, 57.1, 28.6]
    assert len({len(line) for line in lines}) == 1
