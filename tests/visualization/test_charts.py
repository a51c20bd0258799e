# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from vicmae.visualization import Curve, CurvePanel, ProbeResult
from vicmae.visualization.charts import (
    accuracy_figure,
    curve_change,
    curve_figure,
    histogram,
    histogram_figure,
    histogram_text,
    inline_svg,
    num_gaps,
    running_mean,
    wilson_interval,
)


def drawn(panel: CurvePanel) -> list:
    """The lines of a panel."""
    return list(curve_figure(panel).axes[0].lines)


def heights(line) -> np.ndarray:
    """Where the points of a line are drawn, from the bottom (0) to the top (1) of the plot area."""
    axes = line.axes
    axes.figure.draw_without_rendering()
    points = axes.transData.transform(line.get_xydata())
    return axes.transAxes.inverted().transform(points)[:, 1]


def tick_values(axis) -> np.ndarray:
    """The ticks that are seen."""
    low, high = sorted(axis.get_view_interval())
    return np.array([tick for tick in axis.get_ticklocs() if low <= tick <= high])


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def probe(**changes) -> ProbeResult:
    values = dict(kind='images', pretrained=80.0, random_init=20.0, chance=10.0)
    counts = dict(num_bank=1000, num_queries=400, num_classes=10)
    return ProbeResult(**{**values, **counts, **changes})


def test_bars_are_as_long_as_the_accuracies_on_a_scale_of_percent():
    (axes,) = accuracy_figure(probe(pretrained=72.5, random_init=14.5)).axes
    assert [bar.get_width() for bar in axes.patches] == [72.5, 14.5]
    assert [bar.get_x() for bar in axes.patches] == [0, 0]
    assert axes.get_xlim() == (0, 100)
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ['0%', '25%', '50%', '75%', '100%']
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ['Pretrained', 'Random weights']
    assert axes.yaxis.get_inverted()


def test_intervals_are_those_of_wilson():
    (axes,) = accuracy_figure(probe(num_queries=50)).axes
    (bars,) = axes.collections
    intervals = [tuple(segment[:, 0]) for segment in bars.get_segments()]
    assert intervals == [pytest.approx(wilson_interval(percent, 50)) for percent in (80, 20)]


def test_chance_line_stands_on_the_scale_of_the_bars():
    figure = accuracy_figure(probe(chance=30.0))
    dashed = [line for line in figure.axes[0].lines if line.is_dashed()]
    assert [list(line.get_xdata()) for line in dashed] == [[30, 30]]
    assert 'chance 30%' in texts(figure)


@pytest.mark.parametrize('percent', [0.0, 100.0])
def test_figures_beside_the_bars_stay_inside_the_picture_at_both_ends_of_the_scale(percent):
    values = dict(pretrained=percent, random_init=percent, chance=percent, num_queries=3)
    figure = accuracy_figure(probe(**values))
    figure.draw_without_rendering()
    assert texts(figure).count(f'{percent:.1f}%') == 2
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_accuracies_have_words_for_who_cannot_see_the_bars():
    label = ElementTree.fromstring(inline_svg(accuracy_figure(probe()))).get('aria-label')
    assert label == (
        'kNN accuracy on images: pretrained 80.0%, random weights 20.0%, chance 10.0%.'
    )


def test_wilson_interval_is_that_of_the_textbook():
    # Wilson (1927) for 81 of 263, as in Newcombe, Statistics in Medicine 17 (1998), table I.
    low, high = wilson_interval(100 * 81 / 263, 263)
    assert (low, high) == (pytest.approx(25.53, abs=0.01), pytest.approx(36.62, abs=0.01))


def test_wilson_interval_stays_on_the_scale():
    assert wilson_interval(0.0, 20)[0] == 0.0
    assert wilson_interval(100.0, 20)[1] == 100.0
    assert wilson_interval(100.0, 20)[0] == pytest.approx(83.89, abs=0.01)


def test_accuracy_outside_of_percent_is_refused():
    with pytest.raises(ValueError, match=r'`pretrained` must be a percentage in \[0, 100\], got'):
        probe(pretrained=104)
    with pytest.raises(ValueError, match='`random_init` must be a percentage .* got nan'):
        probe(random_init=math.nan)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"must be one of \('images', 'videos'\), got 'audio'"):
        probe(kind='audio')


def test_points_of_a_curve_are_drawn_where_its_values_are():
    panel = CurvePanel('Loss', [Curve('loss', [0, 5, 10], [0.0, 1.0, 4.0])])
    (line,) = drawn(panel)
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0], [5, 1], [10, 4]])
    assert line.axes.get_xlim() == (0, 10)
    # What is never negative has no room below zero; above is 6 %.
    np.testing.assert_allclose(heights(line), np.array([0, 1, 4]) / 4.24)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_splits_a_line(bad):
    panel = CurvePanel('Loss', [Curve('loss', range(5), [5.0, 4.0, bad, 2.0, 1.0])])
    assert [line.get_xydata().tolist() for line in drawn(panel)] == [
        [[0, 5], [1, 4]],
        [[3, 2], [4, 1]],
    ]
    assert not any(word in inline_svg(curve_figure(panel)) for word in (' nan', ' inf'))
    assert num_gaps(panel) == 1


def test_single_point_is_drawn_as_a_dot_in_the_middle():
    (dot,) = drawn(CurvePanel('Loss', [Curve('loss', [7], [0.5])]))
    assert dot.get_marker() == 'o'
    assert heights(dot) == pytest.approx([0.5])
    assert np.mean(dot.axes.get_xlim()) == pytest.approx(7)


def test_point_between_two_gaps_is_seen():
    values = [1.0, 2.0, math.nan, 3.0, math.nan, 4.0, 5.0]
    lines = drawn(CurvePanel('Loss', [Curve('loss', range(7), values)]))
    assert [line.get_marker() for line in lines] == ['', 'o', '']


@pytest.mark.parametrize(
    'curves', [[], [Curve('a', [], [])], [Curve('a', [1, 2], [math.nan, math.nan])]]
)
def test_panel_without_values_has_no_chart(curves):
    assert curve_figure(CurvePanel('Loss', curves)) is None


@pytest.mark.parametrize('value', [0.0, -2.5, 1e-12, 3e7])
def test_constant_curve_lies_inside_the_panel(value):
    (line,) = drawn(CurvePanel('Loss', [Curve('loss', [0, 1], [value, value])]))
    assert ((heights(line) >= 0) & (heights(line) <= 1)).all()
    assert len(tick_values(line.axes.yaxis)) >= 2


def test_many_values_are_drawn_pale_under_their_running_mean():
    rng = np.random.default_rng(0)
    values = 1 + rng.normal(0, 0.1, 600)
    pale, strong = drawn(CurvePanel('Loss', [Curve('loss', np.arange(600), values)]))
    np.testing.assert_array_equal(pale.get_ydata(), values)
    assert (pale.get_alpha(), strong.get_alpha()) == (0.3, None)
    assert strong.get_ydata().std() < values.std() / 3


def test_running_mean_equals_a_slow_loop():
    values = np.random.default_rng(1).normal(size=50)
    got = running_mean(np.column_stack([np.arange(50), values]), window=9)
    for i, (step, mean) in enumerate(got):
        before = min(i, 4)
        after = min(before, 49 - i)
        assert step == i
        assert mean == pytest.approx(np.mean(values[i - before : i + after + 1]))


def test_legend_begins_with_the_first_value_and_ends_with_a_mean():
    values = np.concatenate([[9.0], np.full(298, 2.0), [5.0]])
    curve = Curve('loss', np.arange(300), values)
    # The window of ten values reaches five back from the last one: (5 * 2 + 5) / 6.
    assert curve_change(curve, '%') == '9% \u2192 2.5%'


def test_long_curve_keeps_its_peak_in_a_page_of_a_bearable_size():
    values = np.random.default_rng(2).normal(size=20_000)
    values[12_345] = 50.0
    figure = curve_figure(CurvePanel('Loss', [Curve('loss', np.arange(20_000), values)]))
    svg = inline_svg(figure)
    assert len(svg) < 100_000
    line = figure.axes[0].lines[0]
    (_, height) = line.axes.transData.transform((12_345, 50.0)) / figure.dpi * 72
    reached = np.array(re.findall(r'L \S+ ([\d.]+)', svg), dtype=float)
    assert np.abs(reached - (230 - height)).min() < 0.1


def test_names_are_escaped_and_dollars_are_no_formulas():
    curve = Curve('<b>&"loss"', [0, 1], [1.0, 2.0])
    svg = inline_svg(curve_figure(CurvePanel('Loss <i>', [curve], x_label='<u> in $x^2$')))
    assert not any(tag in svg for tag in ('<b>', '<i>', '<u>'))
    root = ElementTree.fromstring(svg)
    assert '<u> in $x^2$' in [node.text for node in root.iter('text')]
    assert root.get('aria-label') == 'Loss <i> by <u> in $x^2$: <b>&"loss" 1 \u2192 2.'


def test_images_and_videos_keep_their_colours_in_any_order_and_none_is_marked_by_colour_alone():
    def strokes(*names):
        panel = CurvePanel('Loss', [Curve(name, [0, 1], [1.0, 2.0]) for name in names])
        return {line.get_label(): (line.get_color(), line.is_dashed()) for line in drawn(panel)}

    one, other = strokes('videos', 'total', 'images'), strokes('images', 'total', 'videos')
    assert one == other
    assert len({colour for colour, _ in one.values()}) == 3
    assert one['videos'][1] and not one['images'][1]


def test_colours_are_those_of_the_page():
    svg = inline_svg(accuracy_figure(probe()))
    assert 'fill: var(--images)' in svg and 'fill: var(--random)' in svg
    assert set(re.findall(r'#[0-9a-f]{6}', svg)) == set()


def test_chart_is_the_same_string_each_time_whatever_the_settings_are():
    panel = CurvePanel('Loss', [Curve('loss', [0, 1, 2], [3.0, math.nan, 1.25])])
    first = inline_svg(curve_figure(panel))
    settings = {'font.size': 30, 'axes.facecolor': 'red', 'svg.hashsalt': 'x', 'lines.marker': 'x'}
    with matplotlib.rc_context(settings):
        before = dict(matplotlib.rcParams)
        assert inline_svg(curve_figure(panel)) == first
        assert dict(matplotlib.rcParams) == before
    assert 'id="figure' not in first and '<style' not in first


@pytest.mark.parametrize('high', [2, 7, 299, 123_456])
def test_whole_steps_have_few_whole_ticks(high):
    (line,) = drawn(CurvePanel('Loss', [Curve('loss', [0, 1, high], [1.0, 3.0, 2.0])]))
    ticks = tick_values(line.axes.xaxis)
    assert 3 <= len(ticks) <= 6
    assert (ticks == ticks.round()).all()


def test_curve_with_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="Curve 'loss' needs one value per step, got 2 steps and"):
        Curve('loss', [0, 1], [1.0])


@pytest.mark.parametrize('scale', [1e-3, 1.0, 7e4])
@pytest.mark.parametrize('shift', [0.0, -0.4, 3.0])
def test_every_value_lies_in_one_bin(scale, shift):
    values = (np.random.default_rng(0).random(1000) + shift) * scale
    shares, edges = histogram(values)
    assert 8 <= len(shares) <= 20
    counts = [np.sum((values >= a) & (values < b)) for a, b in pairwise(edges)]
    np.testing.assert_allclose(shares, np.array(counts) / 10)
    assert sum(counts) == 1000


def test_bounds_are_round_and_a_value_on_a_bound_opens_its_bin():
    shares, edges = histogram([0.0, 0.1 + 0.2, 1.9])
    assert edges[:4].tolist() == [0.0, 0.1, 0.2, 0.3]
    assert shares[:4] == pytest.approx([100 / 3, 0, 0, 100 / 3])


@pytest.mark.parametrize('value', [0.0, 1.0, -2.5])
def test_equal_values_make_one_bin(value):
    shares, (low, high) = histogram([value] * 5)
    assert low <= value < high
    assert shares == [100]


def test_bars_of_the_histogram_are_as_high_as_their_shares():
    values = [0.5] * 30 + [1.5] * 10 + [2.5] * 60
    figure = histogram_figure(values, 'gap, s')
    (axes,) = figure.axes
    bars = {bar.get_x(): bar.get_height() for bar in axes.patches if bar.get_height() > 0}
    assert bars == pytest.approx({0.4: 30, 1.4: 10, 2.4: 60}, abs=0.2)
    assert texts(figure) == ['mean 1.80']
    assert axes.get_xlabel() == 'gap, s'
    label = ElementTree.fromstring(inline_svg(figure)).get('aria-label')
    assert label.startswith('Histogram of gap, s, mean 1.80: ')


def test_text_has_a_line_per_bin_and_its_longest_bar_is_the_fullest_bin():
    values = np.repeat([0.0, 1.0, 2.0], [10, 40, 20])
    lines = histogram_text(values, unit='s').splitlines()
    full = [line for line in lines if '#' in line]
    assert [line.count('#') for line in full] == [10, 40, 20]
    assert [float(line.split()[-2]) for line in full] == [14.3, 57.1, 28.6]
    assert len({len(line) for line in lines}) == 1
