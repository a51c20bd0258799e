# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG: accuracies as bars, training curves as small panels.

Each chart is a string that goes into an HTML page as it is. Colours are CSS classes, so that the page decides
how they look (light, dark, print). Coordinates are rounded to a tenth of a unit of the view box.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

KINDS = ('images', 'videos')

Point = tuple[float, float]

_WIDTH = 440
_PANEL_HEIGHT = 230
_PANEL_BOX = (52.0, 430.0, 20.0, 186.0)  # left, right, top, bottom of the plot area
_BARS_BOX = (124.0, 384.0)  # where 0 % and 100 % are
_BARS_HEIGHT = 124
_BAR_TOPS = (24.0, 60.0)
_BAR_HEIGHT = 26.0
_BARS_BOTTOM = 96.0
_MAX_COLUMNS = 400  # more points than twice this cannot be told apart at the width of a panel


@dataclass(frozen=True)
class Curve:
    """One line in a panel.

    Args:
        name: What the line shows; ``images`` and ``videos`` keep their colours through the page.
        steps: Where each value was measured, in rising order.
        values: The measurements; what is not finite becomes a gap.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise ValueError(
                f'Curve {self.name!r} needs one value per step, got {len(self.steps)} steps and '
                f'{len(self.values)} values. Give two sequences of the same length.'
            )


@dataclass(frozen=True)
class CurvePanel:
    """One small chart, with one curve or a few that share their axes.

    Args:
        title: Heading of the panel.
        curves: The lines in it; none shows a message in place of the chart.
        x_label: What the steps count.
        unit: Written after the values, ``%`` for instance.
        log: Whether the vertical axis is logarithmic; values that are not positive become gaps.
        levels: Dashed horizontal lines for comparison, by their labels.
    """

    title: str
    curves: Sequence[Curve]
    x_label: str = 'step'
    unit: str = ''
    log: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbeResult:
    """kNN accuracy of frozen features on one kind of data, in percent.

    Args:
        kind: ``images`` or ``videos``.
        pretrained: Accuracy with the pretrained backbone.
        random_init: Accuracy with the same backbone before any training.
        chance: Accuracy of guessing.
        num_bank: Number of labelled samples among which neighbours are looked up.
        num_queries: Number of samples that were classified.
        num_classes: Number of classes to choose from.
    """

    kind: str
    pretrained: float
    random_init: float
    chance: float
    num_bank: int
    num_queries: int
    num_classes: int

    def __post_init__(self) -> None:
        check_kind(self.kind)
        for name in ('pretrained', 'random_init', 'chance'):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise ValueError(f'`{name}` must be a percentage in [0, 100], got {value!r}.')
        if self.num_queries < 1:
            raise ValueError(
                f'`num_queries` must be at least 1, got {self.num_queries}. '
                'Leave the result out where nothing was classified.'
            )

    @property
    def gain(self) -> float:
        """Points of accuracy that pretraining adds to random weights."""
        return self.pretrained - self.random_init


def check_kind(kind: str) -> None:
    """Refuse a kind of data that the page has no section for."""
    if kind not in KINDS:
        raise ValueError(f'`kind` must be one of {KINDS}, got {kind!r}.')


def wilson_interval(percent: float, count: int) -> tuple[float, float]:
    """95 % interval of an accuracy in percent that was measured on ``count`` samples.

    Wilson's interval stays inside [0, 100] and holds for few samples too.
    """
    z, p = 1.96, percent / 100
    scale = 1 + z * z / count
    centre = (p + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return 100 * max(centre - half, 0.0), 100 * min(centre + half, 1.0)


@dataclass(frozen=True)
class Axis:
    """Maps values to coordinates of the view box.

    Args:
        low: The value at ``start``.
        high: The value at ``end``.
        start: Coordinate of ``low``.
        end: Coordinate of ``high``.
        log: Whether equal ratios, and not equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, minimum_step: float = 0.0) -> list[float]:
        """Round values inside the axis, about five of them."""
        if self.log:
            ticks = log_ticks(self.low, self.high)
            if len(ticks) >= 3:
                return ticks
        return linear_ticks(self.low, self.high, minimum_step)


def linear_ticks(low: float, high: float, minimum_step: float = 0.0) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high]."""
    rough = max((high - low) / 5, minimum_step)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounding turns 0.30000000000000004 into 0.3.
    return [float(f'{i * step:.12g}') for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], with their doubles and fives where that gives too few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1,), (1, 2, 5)):
        ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: math.ceil(len(ticks) / 7)] if ticks else ticks


def format_value(value: float) -> str:
    """A number with four figures that count."""
    return f'{value:,.0f}' if 1000 <= abs(value) < 1e9 else f'{value:.4g}'


def drawn_runs(curve: Curve, log: bool = False) -> list[list[Point]]:
    """Split a curve at the values that cannot be drawn.

    Returns:
        Unbroken runs of (step, value), in order; none of them is empty.
    """
    runs: list[list[Point]] = [[]]
    for step, value in zip(curve.steps, curve.values, strict=True):
        if math.isfinite(step) and math.isfinite(value) and (value > 0 or not log):
            runs[-1].append((float(step), float(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def running_mean(run: Sequence[Point], window: int) -> list[Point]:
    """Mean over a centred window of about ``window`` points.

    The window narrows towards the start, where a curve often falls steeply, so that the first value stays
    what it was. At the end it only loses its later half, so that the last value is a mean and not noise.
    """
    values = np.array([value for _, value in run])
    index = np.arange(len(run))
    before = index.clip(max=window // 2)
    after = np.minimum(before, index[::-1])
    totals = np.concatenate([[0.0], np.cumsum(values)])
    means = (totals[index + after + 1] - totals[index - before]) / (before + after + 1)
    return [(step, float(mean)) for (step, _), mean in zip(run, means, strict=True)]


def thin_out(run: Sequence[Point], columns: int = _MAX_COLUMNS) -> list[Point]:
    """Keep the lowest and the highest point of each of ``columns`` groups, so that no peak is lost."""
    if len(run) <= 2 * columns:
        return list(run)
    kept = {0, len(run) - 1}
    for group in np.array_split(np.arange(len(run)), columns):
        values = [run[i][1] for i in group]
        kept |= {int(group[np.argmin(values)]), int(group[np.argmax(values)])}
    return [run[i] for i in sorted(kept)]


def series_class(name: str, index: int) -> str:
    """CSS class of a curve: by its name for the two kinds of data, by its place for the others."""
    return f'series-{name}' if name in KINDS else f'series-{index % 4}'


def accuracy_chart(probe: ProbeResult) -> str:
    """Two bars on one scale from 0 to 100 %, their 95 % intervals, and chance as a dashed line."""
    axis = Axis(0, 100, *_BARS_BOX)
    summary = (
        f'kNN accuracy on {probe.kind}: pretrained {probe.pretrained:.1f}%, '
        f'random weights {probe.random_init:.1f}%, chance {probe.chance:.1f}%.'
    )
    parts = [_bar_grid(axis)]
    rows = (
        ('Pretrained', probe.pretrained, f'bar series-{probe.kind}'),
        ('Random weights', probe.random_init, 'bar random'),
    )
    for top, (label, percent, css) in zip(_BAR_TOPS, rows, strict=True):
        parts.append(_bar(axis, top, label, percent, css, probe.num_queries))
    parts.append(_chance_line(axis, probe.chance))
    return svg(_BARS_HEIGHT, summary, ''.join(parts))


def _bar_grid(axis: Axis) -> str:
    """Vertical lines and their labels at the quarters."""
    return ''.join(
        f'<line class="grid" x1="{axis(tick):.1f}" x2="{axis(tick):.1f}" y1="18" y2="{_BARS_BOTTOM}"/>'
        + svg_text(axis(tick), _BARS_BOTTOM + 17, f'{tick}%', 'tick', 'middle')
        for tick in (0, 25, 50, 75, 100)
    )


def _bar(axis: Axis, top: float, label: str, percent: float, css: str, count: int) -> str:
    """One bar with its name, its interval and its figure."""
    low, high = wilson_interval(percent, count)
    middle = top + _BAR_HEIGHT / 2
    x0, x1, left, right = axis(0), axis(percent), axis(low), axis(high)
    return (
        svg_text(x0 - 10, middle + 4.5, label, 'name', 'end')
        + f'<rect class="{css}" x="{x0:.1f}" y="{top:.1f}" width="{x1 - x0:.1f}" height="{_BAR_HEIGHT}"/>'
        + f'<path class="interval" d="M{left:.1f} {middle:.1f}H{right:.1f}'
        + f'M{left:.1f} {middle - 4:.1f}v8M{right:.1f} {middle - 4:.1f}v8"/>'
        + svg_text(max(x1, right) + 7, middle + 5, f'{percent:.1f}%', 'figure', 'start')
    )


def _chance_line(axis: Axis, chance: float) -> str:
    x = axis(chance)
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="16" y2="{_BARS_BOTTOM}"'
    line = f'<line class="halo" {ends}/><line class="level" {ends}/>'  # seen on the bars too
    # The label leans to the inside at both ends of the scale.
    anchor, text_x = ('start', x - 2) if chance < 85 else ('end', x + 2)
    return line + svg_text(text_x, 11, f'chance {chance:.3g}%', 'tick', anchor)


def curve_chart(panel: CurvePanel) -> str:
    """A panel's curves with axes, grid and ticks; an empty string where there is nothing to draw.

    Many noisy points are drawn pale with a running mean over them.
    """
    runs = [drawn_runs(curve, panel.log) for curve in panel.curves]
    points = [point for curve_runs in runs for run in curve_runs for point in run]
    if not points:
        return ''
    x_axis, y_axis = _panel_axes(panel, points)
    parts = [_panel_grid(panel, x_axis, y_axis)]
    parts += [_level(name, y_axis(value)) for name, value in _levels(panel).items()]
    for index, (curve, curve_runs) in enumerate(zip(panel.curves, runs, strict=True)):
        css = series_class(curve.name, index)
        parts += [_line(run, x_axis, y_axis, css) for run in curve_runs]
    parts.append(svg_text(_PANEL_BOX[1], 12, '', 'readout', 'end'))
    data = _hover_data(panel, runs, x_axis, y_axis)
    return svg(_PANEL_HEIGHT, panel_summary(panel), ''.join(parts), f' data-curves="{data}"')


def mean_window(run: Sequence[Point]) -> int:
    """How many points the running mean of a run takes in; 1 draws the points alone."""
    return len(run) // 30 if len(run) >= 120 else 1


def panel_summary(panel: CurvePanel) -> str:
    """One sentence per curve for who cannot see the chart."""
    parts = [f'{curve.name} {curve_change(curve, panel)}' for curve in panel.curves]
    return f'{panel.title} by {panel.x_label}: {"; ".join(parts)}.'


def curve_change(curve: Curve, panel: CurvePanel) -> str:
    """Where the strong line of a curve begins and ends, in words that fit a legend."""
    runs = drawn_runs(curve, panel.log)
    points = [point for run in runs for point in running_mean(run, mean_window(run))]
    if not points:
        return 'no values'
    first, last = (format_value(value) + panel.unit for _, value in (points[0], points[-1]))
    return first if len(points) == 1 else f'{first} \u2192 {last}'


def num_gaps(panel: CurvePanel) -> int:
    """How many values of a panel could not be drawn."""
    drawn = sum(len(run) for curve in panel.curves for run in drawn_runs(curve, panel.log))
    return sum(len(curve.values) for curve in panel.curves) - drawn


def _levels(panel: CurvePanel) -> dict[str, float]:
    """The levels that the panel's scale can show."""
    return {
        name: value
        for name, value in panel.levels.items()
        if math.isfinite(value) and (value > 0 or not panel.log)
    }


def _panel_axes(panel: CurvePanel, points: Sequence[Point]) -> tuple[Axis, Axis]:
    left, right, top, bottom = _PANEL_BOX
    steps = [step for step, _ in points]
    values = [value for _, value in points] + list(_levels(panel).values())
    x_low, x_high = min(steps), max(steps)
    if x_low == x_high:
        x_low, x_high = x_low - 1, x_high + 1
    y_low, y_high = _padded_range(min(values), max(values), panel.log)
    return Axis(x_low, x_high, left, right), Axis(y_low, y_high, bottom, top, panel.log)


def _padded_range(low: float, high: float, log: bool) -> tuple[float, float]:
    """Room above and below the values, without going below zero for what is never negative."""
    if log:
        room = max((high / low) ** 0.06, 1.05)
        return low / room, high * room
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def _panel_grid(panel: CurvePanel, x_axis: Axis, y_axis: Axis) -> str:
    left, right, _, bottom = _PANEL_BOX
    whole = all(float(step).is_integer() for curve in panel.curves for step in curve.steps)
    parts = []
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(svg_text(left - 7, y + 4, format_value(tick) + panel.unit, 'tick', 'end'))
    for tick in x_axis.ticks(minimum_step=1.0 if whole else 0.0):
        x = x_axis(tick)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
        parts.append(svg_text(x, bottom + 18, format_value(tick), 'tick', 'middle'))
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(svg_text((left + right) / 2, bottom + 37, panel.x_label, 'tick', 'middle'))
    return ''.join(parts)


def _level(name: str, y: float) -> str:
    left, right, _, _ = _PANEL_BOX
    line = f'<line class="level" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + svg_text(right, y - 5, name, 'tick', 'end')


def _line(run: Sequence[Point], x_axis: Axis, y_axis: Axis, css: str) -> str:
    """A run as a line; a dot where it is a single point, so that it is seen at all."""
    if len(run) == 1:
        (step, value) = run[0]
        return (
            f'<circle class="dot {css}" cx="{x_axis(step):.1f}" cy="{y_axis(value):.1f}" r="3.5"/>'
        )
    window = mean_window(run)
    if window == 1:
        return _polyline(run, x_axis, y_axis, f'line {css}')
    raw = _polyline(thin_out(run), x_axis, y_axis, f'line raw {css}')
    return raw + _polyline(thin_out(running_mean(run, window)), x_axis, y_axis, f'line {css}')


def _polyline(run: Sequence[Point], x_axis: Axis, y_axis: Axis, css: str) -> str:
    points = ' '.join(f'{x_axis(step):.1f},{y_axis(value):.1f}' for step, value in run)
    return f'<polyline class="{css}" points="{points}"/>'


def _hover_data(
    panel: CurvePanel, runs: Sequence[Sequence[Sequence[Point]]], x_axis: Axis, y_axis: Axis
) -> str:
    """What the page's script needs to name the value under the pointer, as an escaped JSON attribute."""
    curves = [
        {
            'name': curve.name,
            'points': [
                [
                    round(x_axis(step), 1),
                    round(y_axis(value), 1),
                    f'{step:.10g}',
                    format_value(value),
                ]
                for run in curve_runs
                for step, value in thin_out(run)
            ],
        }
        for curve, curve_runs in zip(panel.curves, runs, strict=True)
    ]
    data = {'x': panel.x_label, 'unit': panel.unit, 'curves': curves}
    return escape(json.dumps(data, separators=(',', ':')))


def svg_text(x: float, y: float, text: str, css: str, anchor: str) -> str:
    """A line of text that starts, ends or has its middle (`anchor`) at a point."""
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def svg(height: int, summary: str, content: str, attributes: str = '') -> str:
    """A chart of the common width, with a summary for who cannot see it."""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(summary)}"{attributes}>'
        f'{content}</svg>'
    )
