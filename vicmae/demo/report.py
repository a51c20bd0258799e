# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The report of a pretraining run, as one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vicmae.visualization.charts import (
    KINDS,
    CurvePanel,
    ProbeResult,
    accuracy_figure,
    curve_change,
    curve_figure,
    drawn_runs,
    mean_window,
    num_gaps,
    stroke,
)
from vicmae.visualization.page import count, render_page, write_page


@dataclass(frozen=True, eq=False)
class ReconstructionRow:
    """A picture, or a frame of a video, before and after the decoder.

    Pictures are uint8 arrays (H, W, 3), RGB. The kind is `images` or `videos`; the label, of the class, may be empty.
    """

    kind: str
    label: str
    source: str
    original: np.ndarray
    masked: np.ndarray
    output: np.ndarray


@dataclass(frozen=True, eq=False)
class Neighbour:
    """One of the labelled pictures nearest to a query, with the cosine similarity of their features."""

    picture: np.ndarray
    label: str
    similarity: float


@dataclass(frozen=True, eq=False)
class NeighbourRow:
    """A query and its nearest neighbours by two backbones, nearest first."""

    kind: str
    picture: np.ndarray
    label: str
    pretrained: Sequence[Neighbour]
    random_init: Sequence[Neighbour]


@dataclass(frozen=True)
class NextStep:
    """A suggestion for the reader of the page, with its command."""

    text: str
    command: str


@dataclass(frozen=True)
class Report:
    """The content of the page; `seconds`, `num_images` and `num_videos` are those of pretraining."""

    title: str
    seconds: float
    num_images: int
    num_videos: int
    probes: Sequence[ProbeResult] = ()
    panels: Sequence[CurvePanel] = ()
    reconstructions: Sequence[ReconstructionRow] = ()
    neighbours: Sequence[NeighbourRow] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    next_steps: Sequence[NextStep] = ()


def write_report(report: Report, path: str | Path) -> Path:
    """Writes the page as `write_page` does."""
    return write_page(render_report(report), path)


def render_report(report: Report) -> str:
    """Returns the page as a string of HTML."""
    curves = [curve for panel in report.panels for curve in panel.curves]
    return render_page(
        'report.html',
        title=report.title,
        lede=describe_outcome(report),
        report=report,
        probes=_sorted_by_kind(report.probes),
        smoothed=any(mean_window(run) > 1 for curve in curves for run in drawn_runs(curve)),
        totals=_neighbour_totals(report.neighbours),
        accuracy_figure=accuracy_figure,
        curve_figure=curve_figure,
        curve_change=curve_change,
        num_agreeing=num_agreeing,
        num_gaps=num_gaps,
        stroke=stroke,
    )


def describe_outcome(report: Report) -> str:
    """Describes the result in two sentences."""
    data = [
        count(number, noun)
        for number, noun in ((report.num_images, 'image'), (report.num_videos, 'video clip'))
        if number
    ]
    start = f'After {format_duration(report.seconds)} of pretraining'
    start += f' on {" and ".join(data)} without labels' if data else ''
    probes = _sorted_by_kind(report.probes)
    if not probes:
        return f'{start}, the backbone has not been evaluated. Give it labelled data to evaluate its features.'
    shares = ' and '.join(
        f'{probe.pretrained:.1f}% of the test {probe.kind} '
        f'(random weights: {probe.random_init:.1f}%, chance: {probe.chance:.1f}%)'
        for probe in probes
    )
    first, *others = probes
    gains = f'{_describe_gain(first.gain)} than random weights give on {first.kind}'
    gains += ''.join(f', and {_describe_gain(probe.gain)} on {probe.kind}' for probe in others)
    return (
        f'{start}, a kNN classifier on the frozen features is right for {shares}. That is {gains}.'
    )


def _describe_gain(gain: float) -> str:
    points = f'{abs(gain):.1f}'
    if points == '0.0':
        return 'no more'
    return f'{points} points {"more" if gain > 0 else "less"}'


def format_duration(seconds: float) -> str:
    """Returns a duration in words, with its two largest units."""
    total = round(seconds)
    if total < 100:
        return count(total, 'second')
    if total < 3600:
        large, small = count(total // 60, 'minute'), count(total % 60, 'second')
    else:
        large, small = count(total // 3600, 'hour'), count(total % 3600 // 60, 'minute')
    return large if small.startswith('0 ') else f'{large} {small}'


def _sorted_by_kind(probes: Sequence[ProbeResult]) -> list[ProbeResult]:
    return sorted(probes, key=lambda probe: KINDS.index(probe.kind))


def _neighbour_totals(rows: Sequence[NeighbourRow]) -> str:
    """Describes how often the pictured neighbours have the class of their queries."""
    if not rows:
        return ''
    pretrained, random_init = (
        (sum(num_agreeing(row, name) for row in rows), sum(len(getattr(row, name)) for row in rows))
        for name in ('pretrained', 'random_init')
    )
    return (
        f'With the pretrained backbone {pretrained[0]} of {pretrained[1]} agree, '
        f'with random weights {random_init[0]} of {random_init[1]}.'
    )


def num_agreeing(row: NeighbourRow, backbone: str) -> int:
    """Returns how many neighbours by `pretrained` or `random_init` have the class of the query."""
    return sum(neighbour.label == row.label for neighbour in getattr(row, backbone))
