# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Charts with matplotlib: accuracies as bars, training curves as small panels, histograms.

`inline_svg` turns a figure into an element of an HTML page, with the colours of the page (light, dark, print).
Matplotlib's settings stay unchanged for others.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:  # matplotlib is imported by what draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ('images', 'videos')

_P = ParamSpec('_P')
_T = TypeVar('_T')

_WIDTH = 440  # points, as all sizes
_COLOURS = dict(  # each is a variable of this name in the page's style sheet, too
    images='#2a66ad',
    videos='#b3561b',
    third='#5b4b9a',
    fourth='#2f7f78',
    ink='#1b2026',
    wrong='#b83227',
    random='#a3abb4',
    muted='#58626d',
    grid='#ebedef',
    paper='#fdfdfc',
)
_MUTED = ('axes.edgecolor', 'axes.labelcolor', 'text.color', 'xtick.color', 'ytick.color')
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(_MUTED, _COLOURS['muted']),
    **{f'axes.spines.{side}': False for side in ('left', 'right', 'top')},
    'axes.axisbelow': True,
    'axes.facecolor': 'none',
    'axes.labelsize': 12,
    'axes.xmargin': 0,
    'axes.ymargin': 0.06,
    'figure.facecolor': 'none',
    'font.size': 12,
    'grid.color': _COLOURS['grid'],
    'lines.linewidth': 2,
    'path.simplify_threshold': 1.0,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'vicmae',
    'text.parse_math': False,
    'ytick.left': False,
}


@dataclass(frozen=True)
class Curve:
    """One line in a panel: values by rising steps, with gaps where they are not finite."""

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
    """One small chart, with one curve or a few that share their axes; `unit` follows the values."""

    title: str
    curves: Sequence[Curve]
    x_label: str = 'step'
    unit: str = ''


@dataclass(frozen=True)
class ProbeResult:
    """kNN accuracies in percent on one kind of data: of the pretrained backbone, of random weights, and by chance."""

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

    @property
    def gain(self) -> float:
        """Returns the percentage points that pretraining adds to random weights."""
        return self.pretrained - self.random_init


def check_kind(kind: str) -> None:
    """Raises ValueError for a kind of data that the page has no section for."""
    if kind not in KINDS:
        raise ValueError(f'`kind` must be one of {KINDS}, got {kind!r}.')


def wilson_interval(percent: float, count: int) -> tuple[float, float]:
    """Computes Wilson's 95 % interval of an accuracy in percent on ``count`` samples, inside [0, 100]."""
    z, p = 1.96, percent / 100
    scale = 1 + z * z / count
    centre = (p + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return 100 * max(centre - half, 0.0), 100 * min(centre + half, 1.0)


def _styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """Runs a function with the settings above, on top of matplotlib's defaults, and restores the user's."""

    @wraps(draw)
    def styled(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return styled


def _new_axes(height: int, summary: str) -> tuple['Figure', 'Axes']:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / 72, height / 72), layout='constrained', label=summary)
    return figure, figure.add_subplot()


@_styled
def inline_svg(figure: 'Figure') -> str:
    """Returns a figure as an SVG element, the same string each time, with its label for screen readers."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    figure.savefig(buffer, format='svg', metadata=metadata)
    svg = buffer.getvalue().partition('<svg')[2].partition('>')[2].replace('xlink:href', 'href')
    # A style sheet would apply to the whole page, and figures would share the ids of groups.
    svg = re.sub('<defs>\\s*<style.*?</defs>', '', svg, flags=re.DOTALL)
    svg = re.sub('<g id=".*?">', '<g>', svg)
    # Paths need no more than a hundredth of a point.
    svg = re.sub(
        ' d=".*?"', lambda path: re.sub(r'(\.\d\d)\d+', r'\1', path[0]), svg, flags=re.DOTALL
    )
    for name, colour in _COLOURS.items():
        svg = re.sub(f'(fill|stroke): {colour}', rf'\1: var(--{name})', svg)
    width, height = (72 * inches for inches in figure.get_size_inches())
    label = escape(str(figure.get_label()))
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">{svg}'


def stroke(name: str, index: int) -> tuple[str, bool]:
    """Returns the colour of a curve and whether it is dashed; images and videos have the same ones in any order."""
    if name in KINDS:
        return name, name == 'videos'
    return ('third', 'fourth', 'ink', 'wrong')[index % 4], index % 2 == 1


def format_value(value: float, _: Any = None) -> str:
    """Formats a number with four significant digits."""
    return f'{value:,.0f}' if 1000 <= abs(value) < 1e9 else f'{value:.4g}'


# ------------------------------------------------------------------------- accuracies
@_styled
def accuracy_figure(probe: ProbeResult) -> 'Figure':
    """Draws two bars on one scale from 0 to 100 %, their 95 % intervals, and chance as a dashed line."""
    summary = (
        f'kNN accuracy on {probe.kind}: pretrained {probe.pretrained:.1f}%, '
        f'random weights {probe.random_init:.1f}%, chance {probe.chance:.1f}%.'
    )
    figure, axes = _new_axes(124, summary)
    percents = [probe.pretrained, probe.random_init]
    lows, highs = zip(*(wilson_interval(p, probe.num_queries) for p in percents), strict=True)
    colours = [_COLOURS[probe.kind], _COLOURS['random']]
    axes.barh(['Pretrained', 'Random weights'], percents, height=0.72, color=colours)
    errors = [np.subtract(percents, lows), np.subtract(highs, percents)]
    kwargs: dict[str, Any] = dict(fmt='none', color=_COLOURS['ink'], elinewidth=1.2, capsize=4)
    axes.errorbar(percents, [0, 1], xerr=np.maximum(errors, 0), **kwargs)
    label: dict[str, Any] = dict(textcoords='offset points', va='center', weight='bold')
    for row, (percent, high) in enumerate(zip(percents, highs, strict=True)):
        place = (max(percent, high), row)
        axes.annotate(f'{percent:.1f}%', place, (7, 0), color=_COLOURS['ink'], **label)
    align = 'left' if probe.chance < 85 else 'right'
    _vertical_line(axes, probe.chance, f'chance {probe.chance:.3g}%', align)
    axes.set(xlim=(0, 100), xticks=range(0, 101, 25), ylim=(1.5, -0.5))
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}%')
    axes.tick_params('x', length=0)
    axes.tick_params('y', labelsize=13, labelcolor=_COLOURS['ink'])
    axes.spines.bottom.set_visible(False)
    axes.grid(axis='x')
    return figure


def _vertical_line(axes: 'Axes', value: float, label: str, align: str) -> None:
    """Draws a dashed line with a halo, so that it is visible on bars too, and its label above."""
    axes.axvline(value, color=_COLOURS['paper'], linewidth=3, alpha=0.75)
    axes.axvline(value, color=_COLOURS['muted'], linewidth=1, dashes=(4, 3))
    place = axes.get_xaxis_transform()
    axes.text(value, 1.03, label, transform=place, ha=align, va='bottom')


# ------------------------------------------------------------------------- curves
@_styled
def curve_figure(panel: CurvePanel) -> 'Figure | None':
    """Draws a panel's curves; None without values.

    Many noisy points are drawn pale under their running mean, a point between two gaps as a dot.
    """
    from matplotlib.ticker import MaxNLocator

    runs = [drawn_runs(curve) for curve in panel.curves]
    if not any(runs):
        return None
    changes = [f'{curve.name} {curve_change(curve, panel.unit)}' for curve in panel.curves]
    figure, axes = _new_axes(230, f'{panel.title} by {panel.x_label}: {"; ".join(changes)}.')
    for index, (curve, curve_runs) in enumerate(zip(panel.curves, runs, strict=True)):
        name, dashed = stroke(curve.name, index)
        dashes = (0, (3.5, 2)) if dashed else '-'
        for run in curve_runs:
            if mean_window(run) > 1:
                axes.plot(*run.T, color=_COLOURS[name], linewidth=1, alpha=0.3, clip_on=False)
            line = running_mean(run, mean_window(run))
            style: dict[str, Any] = dict(color=_COLOURS[name], linestyle=dashes, label=curve.name)
            axes.plot(*line.T, marker='o' if len(run) == 1 else '', clip_on=False, **style)
    whole = all(float(step).is_integer() for curve in panel.curves for step in curve.steps)
    rounded: dict[str, Any] = dict(nbins=5, steps=[1, 2, 5, 10], min_n_ticks=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=whole, **rounded))
    axes.yaxis.set_major_locator(MaxNLocator(**rounded))
    if axes.dataLim.y0 >= 0:  # no room below zero for values that are never negative
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
    axes.xaxis.set_major_formatter(format_value)
    axes.yaxis.set_major_formatter(lambda value, _: format_value(value) + panel.unit)
    axes.set_xlabel(panel.x_label)
    axes.grid(axis='y')
    return figure


def drawn_runs(curve: Curve) -> list[np.ndarray]:
    """Splits a curve at values that are not finite, into runs of (step, value), each of shape (N, 2)."""
    points = np.column_stack([curve.steps, curve.values]).astype(float)
    edges = np.flatnonzero(np.diff([True, *~np.isfinite(points).all(axis=1), True]))
    return [points[start:end] for start, end in edges.reshape(-1, 2)]


def running_mean(run: np.ndarray, window: int) -> np.ndarray:
    """Averages over a centred window of about ``window`` points.

    The window narrows towards the start, where a curve is often steep: the first value stays the same. At the end it
    only loses its later half, so that the last value is a mean and not noise.
    """
    if window == 1:
        return run
    index = np.arange(len(run))
    before = index.clip(max=window // 2)
    after = np.minimum(before, index[::-1])
    totals = np.concatenate([[0.0], np.cumsum(run[:, 1])])
    means = (totals[index + after + 1] - totals[index - before]) / (before + after + 1)
    return np.column_stack([run[:, 0], means])


def mean_window(run: np.ndarray) -> int:
    """Returns the number of points in the running mean of a run; 1 draws the points only."""
    return len(run) // 30 if len(run) >= 120 else 1


def curve_change(curve: Curve, unit: str) -> str:
    """Returns the first and the last value of a curve's drawn line, for a legend."""
    runs = [running_mean(run, mean_window(run)) for run in drawn_runs(curve)]
    if not runs:
        return 'no values'
    first, last = (format_value(float(v)) + unit for v in (runs[0][0, 1], runs[-1][-1, 1]))
    return first if sum(map(len, runs)) == 1 else f'{first} \u2192 {last}'


def num_gaps(panel: CurvePanel) -> int:
    """Returns the number of values in a panel that are not finite."""
    return sum(int((~np.isfinite(curve.values)).sum()) for curve in panel.curves)


# ------------------------------------------------------------------------- histograms
def histogram(
    values: Sequence[float] | np.ndarray, max_bins: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Counts finite values in at most so many bins, whose edges are multiples of a round width.

    Returns:
        The share of the values in each bin, in percent, and the edges of the bins, one more.
    """
    values = np.asarray(values, dtype=float)
    low, high = float(values.min()), float(values.max())
    rough = (high - low) / (max_bins - 1) or abs(high) / max_bins or 1.0
    magnitude = 10.0 ** math.floor(math.log10(rough))
    width = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    # A value on an edge, up to rounding, belongs to the bin that starts there.
    numbers = np.floor(values / width + 1e-9).astype(int)
    counts = np.bincount(numbers - numbers.min())
    edges = [float(f'{n * width:.10g}') for n in range(numbers.min(), numbers.max() + 2)]
    return 100 * counts / len(values), np.array(edges)


@_styled
def histogram_figure(values: Sequence[float] | np.ndarray, x_label: str) -> 'Figure':
    """Draws a histogram, with the mean as a dashed line."""
    shares, edges = histogram(values)
    mean = float(np.mean(values))
    bars = ', '.join(f'{s} {share:.0f}%' for s, share in zip(_spans(edges), shares, strict=True))
    figure, axes = _new_axes(190, f'Histogram of {x_label}, mean {mean:.2f}: {bars}')
    axes.bar(edges[:-1], shares, np.diff(edges) * 0.96, align='edge', color=_COLOURS['videos'])
    _vertical_line(axes, mean, f'mean {mean:.2f}', 'center')
    axes.set(xlabel=x_label, xlim=(edges[0], edges[-1]), ylim=(0, shares.max()))
    axes.xaxis.set_major_formatter(format_value)
    axes.yaxis.set_major_formatter(lambda value, _: f'{format_value(value)}%')
    axes.grid(axis='y')
    return figure


def histogram_text(values: Sequence[float] | np.ndarray, *, unit: str) -> str:
    """Draws a histogram as text, one line per bin, with the unit after the bounds."""
    shares, edges = histogram(values)
    names = [f'{span} {unit}' for span in _spans(edges)]
    widest = max(map(len, names))
    return '\n'.join(
        f'{name:>{widest}} {"#" * round(40 * share / shares.max()):40} {share:5.1f} %'
        for name, share in zip(names, shares, strict=True)
    )


def _spans(edges: np.ndarray) -> list[str]:
    return [f'{format_value(a)} to {format_value(b)}' for a, b in pairwise(edges)]
