# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Histograms: as inline SVG for a page, as text for a terminal."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .charts import Axis, format_value, svg, svg_text

_MAX_BINS = 20
_TEXT_WIDTH = 40
_HEIGHT = 190
_BOX = (40.0, 430.0, 22.0, 146.0)  # left, right, top, bottom of the plot area


class Bin(NamedTuple):
    """One bar.

    Attributes:
        low: Least value that belongs to it.
        high: The first one that doesn't; the last bin has its own too.
        share: Part of all values that lie in it, in percent.
    """

    low: float
    high: float
    share: float


def histogram(values: Sequence[float] | np.ndarray, max_bins: int = _MAX_BINS) -> list[Bin]:
    """Counts values in bins of a round width, from a multiple of it at or below the least value on.

    Args:
        values: Finite numbers, at least one.
        max_bins: Most bins to make.
    """
    values = np.asarray(values, dtype=float)
    width = _round_width(float(values.min()), float(values.max()), max_bins)
    # A value that lies on an edge, but for rounding, belongs to the bin that begins there.
    numbers = np.floor(values / width + 1e-9).astype(int)
    first = int(numbers.min())
    counts = np.bincount(numbers - first)
    return [
        Bin(_tidy((first + i) * width), _tidy((first + i + 1) * width), 100 * n / len(values))
        for i, n in enumerate(counts.tolist())
    ]


def histogram_chart(
    values: Sequence[float] | np.ndarray, *, x_label: str, css: str = 'series-videos'
) -> str:
    """Draws a histogram, with the mean as a dashed line.

    Args:
        values: Finite numbers, at least one.
        x_label: What the values are, with their unit.
        css: Class of the bars.
    """
    bins = histogram(values)
    mean = float(np.mean(values))
    left, right, top, bottom = _BOX
    x_axis = Axis(bins[0].low, bins[-1].high, left, right)
    y_axis = Axis(0, max(b.share for b in bins), bottom, top)
    parts = [_grid(x_axis, y_axis, x_label)]
    for b in bins:
        x, y = x_axis(b.low), y_axis(b.share)
        parts.append(
            f'<rect class="bar {css}" x="{x + 0.5:.1f}" y="{y:.1f}" '
            f'width="{x_axis(b.high) - x - 1:.1f}" height="{bottom - y:.1f}"/>'
        )
    parts.append(_mean_line(x_axis(mean), f'mean {mean:.2f}'))
    summary = f'Histogram of {x_label}, mean {mean:.2f}: ' + ', '.join(
        f'{_span(b)} {b.share:.0f}%' for b in bins
    )
    return svg(_HEIGHT, summary, ''.join(parts))


def histogram_text(values: Sequence[float] | np.ndarray, *, unit: str) -> str:
    """Draws a histogram with letters, one line a bin.

    Args:
        values: Finite numbers, at least one.
        unit: Written after the bounds of a bin.
    """
    bins = histogram(values)
    longest = max(b.share for b in bins)
    names = [f'{_span(b)} {unit}' for b in bins]
    return '\n'.join(
        f'{name:>{max(map(len, names))}} {"#" * round(_TEXT_WIDTH * b.share / longest):{_TEXT_WIDTH}} '
        f'{b.share:5.1f} %'
        for name, b in zip(names, bins, strict=True)
    )


def _round_width(low: float, high: float, max_bins: int) -> float:
    """1, 2 or 5 times a power of ten, the least one that needs no more than so many bins."""
    rough = (high - low) / (max_bins - 1) or abs(high) / max_bins or 1.0
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * (1 - 1e-9))


def _tidy(value: float) -> float:
    """Turns 0.30000000000000004 into 0.3."""
    return float(f'{value:.10g}')


def _span(b: Bin) -> str:
    return f'{format_value(b.low)} to {format_value(b.high)}'


def _grid(x_axis: Axis, y_axis: Axis, x_label: str) -> str:
    left, right, _, bottom = _BOX
    parts = []
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(svg_text(left - 7, y + 4, f'{format_value(tick)}%', 'tick', 'end'))
    for tick in x_axis.ticks():
        parts.append(svg_text(x_axis(tick), bottom + 17, format_value(tick), 'tick', 'middle'))
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(svg_text((left + right) / 2, bottom + 36, x_label, 'tick', 'middle'))
    return ''.join(parts)


def _mean_line(x: float, label: str) -> str:
    _, _, top, bottom = _BOX
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{bottom}"'
    line = f'<line class="halo" {ends}/><line class="level" {ends}/>'
    return line + svg_text(x, top - 10, label, 'tick', 'middle')
