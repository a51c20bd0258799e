# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from vicmae.visualization import Curve, CurvePanel, ProbeResult
from vicmae.visualization.charts import (
    Axis,
    accuracy_chart,
    curve_change,
    curve_chart,
    drawn_runs,
    linear_ticks,
    log_ticks,
    num_gaps,
    running_mean,
    thin_out,
    wilson_interval,
)

LEFT, RIGHT, TOP, BOTTOM = 52.0, 430.0, 20.0, 186.0


def parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def with_class(chart: str, tag: str, css: str) -> list[ElementTree.Element]:
    return [node for node in parse(chart).iter(tag) if css in node.get('class', '').split()]


def coordinates(polyline: ElementTree.Element) -> np.ndarray:
    return np.array([pair.split(',') for pair in polyline.get('points', '').split()], dtype=float)


def probe(**changes) -> ProbeResult:
    values = dict(kind='images', pretrained=80.0, random_init=20.0, chance=10.0)
    counts = dict(num_bank=1000, num_queries=400, num_classes=10)
    return ProbeResult(**{**values, **counts, **changes})


def test_bar_lengths_are_proportional_to_accuracies():
    chart = accuracy_chart(probe(pretrained=72.5, random_init=14.5))
    (pretrained,) = with_class(chart, 'rect', 'series-images')
    (random_init,) = with_class(chart, 'rect', 'random')
    assert float(pretrained.get('width')) / float(random_init.get('width')) == pytest.approx(
        5, abs=0.02
    )


def test_bars_end_where_the_axis_says():
    chart = accuracy_chart(probe(pretrained=75.0, random_init=25.0))
    labels = {node.text: float(node.get('x')) for node in with_class(chart, 'text', 'tick')}
    for css, tick in (('series-images', '75%'), ('random', '25%')):
        (bar,) = with_class(chart, 'rect', css)
        assert float(bar.get('x')) == labels['0%']
        assert float(bar.get('x')) + float(bar.get('width')) == pytest.approx(labels[tick], abs=0.1)


def test_chance_line_stands_on_the_scale_of_the_bars():
    (line,) = with_class(accuracy_chart(probe(chance=30.0, random_init=30.0)), 'line', 'level')
    (bar,) = with_class(accuracy_chart(probe(chance=30.0, random_init=30.0)), 'rect', 'random')
    end = float(bar.get('x')) + float(bar.get('width'))
    assert float(line.get('x1')) == pytest.approx(end, abs=0.11)


@pytest.mark.parametrize('percent', [0.0, 100.0])
def test_bars_stay_inside_the_picture_at_both_ends_of_the_scale(percent):
    chart = accuracy_chart(
        probe(pretrained=percent, random_init=percent, chance=percent, num_queries=3)
    )
    width = float(parse(chart).get('viewBox').split()[2])
    # A character of the figure is at most 9 units wide.
    ends = [float(n.get('x')) + 9 * len(n.text) for n in with_class(chart, 'text', 'figure')]
    assert max(ends) <= width + 9


def test_accuracies_are_told_to_who_cannot_see_the_bars():
    label = parse(accuracy_chart(probe())).get('aria-label')
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
    with pytest.raises(
        ValueError, match=r'`pretrained` must be a percentage in \[0, 100\], got 104'
    ):
        probe(pretrained=104)
    with pytest.raises(ValueError, match='`random_init` must be a percentage .* got nan'):
        probe(random_init=math.nan)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"must be one of \('images', 'videos'\), got 'audio'"):
        probe(kind='audio')


def test_curve_points_map_to_the_right_coordinates():
    panel = CurvePanel('Loss', [Curve('loss', [0, 5, 10], [0.0, 1.0, 4.0])])
    (line,) = with_class(curve_chart(panel), 'polyline', 'line')
    # The values take the lower 1 / 1.06 of the plot area, since 6 % of room is left above them.
    heights = BOTTOM - (BOTTOM - TOP) * np.array([0.0, 1.0, 4.0]) / 4.24
    expected = np.stack([np.array([LEFT, (LEFT + RIGHT) / 2, RIGHT]), heights], axis=1)
    np.testing.assert_allclose(coordinates(line), expected, atol=0.051)


def test_ticks_stand_where_the_curve_has_their_values():
    panel = CurvePanel('Loss', [Curve('loss', [0, 50, 100], [1.0, 2.0, 3.0])])
    chart = curve_chart(panel)
    (line,) = with_class(chart, 'polyline', 'line')
    ticks = with_class(chart, 'text', 'tick')
    y_of_two = next(
        float(n.get('y')) for n in ticks if n.text == '2' and n.get('text-anchor') == 'end'
    )
    x_of_hundred = next(float(n.get('x')) for n in ticks if n.text == '100')
    assert coordinates(line)[1, 1] == pytest.approx(y_of_two - 4, abs=0.1)
    assert coordinates(line)[2, 0] == x_of_hundred


def test_logarithmic_panel_gives_equal_ratios_equal_distances():
    panel = CurvePanel('Loss', [Curve('loss', [0, 1, 2], [100.0, 10.0, 1.0])], log=True)
    (line,) = with_class(curve_chart(panel), 'polyline', 'line')
    first, second = np.diff(coordinates(line)[:, 1])
    assert first == pytest.approx(second, abs=0.11)
    assert first > 0  # downwards


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_splits_a_line(bad):
    panel = CurvePanel('Loss', [Curve('loss', range(5), [5.0, 4.0, bad, 2.0, 1.0])])
    chart = curve_chart(panel)
    lines = with_class(chart, 'polyline', 'line')
    assert [len(coordinates(line)) for line in lines] == [2, 2]
    assert not any(word in chart for word in ('nan', 'inf'))
    assert num_gaps(panel) == 1


def test_zero_is_a_gap_on_a_logarithmic_scale_only():
    curve = Curve('weight', [0, 1, 2], [0.0, 0.1, 1.0])
    assert len(drawn_runs(curve)[0]) == 3
    assert drawn_runs(curve, log=True) == [[(1.0, 0.1), (2.0, 1.0)]]
    assert num_gaps(CurvePanel('Weight', [curve], log=True)) == 1


def test_single_point_is_drawn_as_a_dot_in_the_middle():
    chart = curve_chart(CurvePanel('Loss', [Curve('loss', [7], [0.5])]))
    (dot,) = with_class(chart, 'circle', 'dot')
    assert float(dot.get('cx')) == pytest.approx((LEFT + RIGHT) / 2)
    assert float(dot.get('cy')) == pytest.approx((TOP + BOTTOM) / 2)
    assert with_class(chart, 'polyline', 'line') == []


def test_point_between_two_gaps_is_seen():
    values = [1.0, 2.0, math.nan, 3.0, math.nan, 4.0, 5.0]
    chart = curve_chart(CurvePanel('Loss', [Curve('loss', range(7), values)]))
    assert len(with_class(chart, 'circle', 'dot')) == 1
    assert len(with_class(chart, 'polyline', 'line')) == 2


@pytest.mark.parametrize(
    'curves', [[], [Curve('a', [], [])], [Curve('a', [1, 2], [math.nan, math.nan])]]
)
def test_panel_without_values_has_no_chart(curves):
    assert curve_chart(CurvePanel('Loss', curves)) == ''


@pytest.mark.parametrize('value', [0.0, -2.5, 1e-12, 3e7])
@pytest.mark.parametrize('log', [False, True])
def test_constant_curve_lies_inside_the_panel(value, log):
    chart = curve_chart(CurvePanel('Loss', [Curve('loss', [0, 1], [value, value])], log=log))
    if log and value <= 0:
        assert chart == ''
        return
    (line,) = with_class(chart, 'polyline', 'line')
    heights = coordinates(line)[:, 1]
    assert ((heights >= TOP) & (heights <= BOTTOM)).all()


def test_level_is_drawn_at_its_value_and_makes_room_for_itself():
    curve = Curve('images', [0, 1], [50.0, 100.0])
    chart = curve_chart(CurvePanel('kNN', [curve], levels={'chance': 0.0}))
    (level,) = with_class(chart, 'line', 'level')
    assert float(level.get('y1')) == BOTTOM
    (line,) = with_class(chart, 'polyline', 'line')
    middle = (BOTTOM + coordinates(line)[1, 1]) / 2
    assert coordinates(line)[0, 1] == pytest.approx(middle, abs=0.1)


def test_many_values_are_drawn_pale_under_their_running_mean():
    rng = np.random.default_rng(0)
    values = 1 + rng.normal(0, 0.1, 600)
    chart = curve_chart(CurvePanel('Loss', [Curve('loss', np.arange(600), values)]))
    lines = with_class(chart, 'polyline', 'line')
    pale = [line for line in lines if 'raw' in line.get('class').split()]
    (strong,) = [line for line in lines if line not in pale]
    assert len(pale) == 1
    assert coordinates(strong)[:, 1].std() < coordinates(pale[0])[:, 1].std() / 3


def test_running_mean_equals_a_slow_loop():
    values = np.random.default_rng(1).normal(size=50)
    got = running_mean(list(enumerate(values)), window=9)
    for i, (step, mean) in enumerate(got):
        before = min(i, 4)
        after = min(before, 49 - i)
        assert step == i
        assert mean == pytest.approx(np.mean(values[i - before : i + after + 1]))


def test_legend_begins_with_the_first_value_and_ends_with_a_mean():
    values = np.concatenate([[9.0], np.full(298, 2.0), [5.0]])
    curve = Curve('loss', np.arange(300), values)
    # The window of ten values reaches five back from the last one: (5 * 2 + 5) / 6.
    assert curve_change(curve, CurvePanel('Loss', [curve])) == '9 \u2192 2.5'


def test_thinning_out_keeps_the_peaks_the_ends_and_the_order():
    values = np.random.default_rng(2).normal(size=20_000)
    values[[0, -1]] = 0.0  # the ends are kept though they are no peaks
    values[12_345] = 50.0
    kept = thin_out(list(enumerate(values)), columns=100)
    assert len(kept) <= 202
    assert (12_345, 50.0) in kept
    assert kept[0][0] == 0
    assert kept[-1][0] == 19_999
    assert kept == sorted(kept)


def test_names_of_curves_and_levels_are_escaped():
    curve = Curve('<b>&"loss"', [0, 1], [1.0, 2.0])
    chart = curve_chart(CurvePanel('Loss <i>', [curve], x_label='<u>', levels={'<s>': 1.0}))
    assert not any(tag in chart for tag in ('<b>', '<i>', '<u>', '<s>'))
    data = json.loads(parse(chart).get('data-curves'))
    assert data['curves'][0]['name'] == '<b>&"loss"'


def test_hover_data_holds_the_values_and_where_they_are_drawn():
    panel = CurvePanel('Loss', [Curve('loss', [0, 1, 2], [3.0, math.nan, 1.25])], unit='%')
    chart = curve_chart(panel)
    data = json.loads(parse(chart).get('data-curves'))
    dots = [[float(d.get('cx')), float(d.get('cy'))] for d in with_class(chart, 'circle', 'dot')]
    assert [point[:2] for point in data['curves'][0]['points']] == dots
    assert [point[2:] for point in data['curves'][0]['points']] == [['0', '3'], ['2', '1.25']]
    assert (data['unit'], data['x']) == ('%', 'step')


def test_images_and_videos_keep_their_colours_in_any_order():
    curves = [Curve(name, [0, 1], [1.0, 2.0]) for name in ('videos', 'total', 'images')]
    lines = with_class(curve_chart(CurvePanel('Loss', curves)), 'polyline', 'line')
    assert [line.get('class') for line in lines] == [
        'line series-videos',
        'line series-1',
        'line series-images',
    ]


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.02, 0.31, [0.1, 0.2, 0.3]),
        (-3, 3, [-2, 0, 2]),
        (0, 1200, [0, 500, 1000]),
    ],
)
def test_linear_ticks_are_round(low, high, expected):
    assert linear_ticks(low, high) == expected


def test_whole_steps_have_whole_ticks():
    assert linear_ticks(0, 2, minimum_step=1.0) == [0, 1, 2]


def test_logarithmic_ticks_are_decades_or_parts_of_them():
    assert log_ticks(0.5, 2000) == [1, 10, 100, 1000]
    assert log_ticks(0.3, 4) == [0.5, 1, 2]
    assert len(log_ticks(1e-30, 1e30)) <= 10


def test_axis_maps_its_ends_and_its_middle():
    axis = Axis(10, 20, 100, 0)
    assert [axis(10), axis(15), axis(20)] == [100, 50, 0]


def test_curve_with_unequal_lengths_is_refused():
    with pytest.raises(
        ValueError, match="Curve 'loss' needs one value per step, got 2 steps and 1 values"
    ):
        Curve('loss', [0, 1], [1.0])
