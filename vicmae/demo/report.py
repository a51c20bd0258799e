# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The report of a pretraining run: plain data in, one self-contained HTML file out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vicmae.visualization.charts import (
    KINDS,
    CurvePanel,
    ProbeResult,
    accuracy_figure,
    check_kind,
    curve_change,
    curve_figure,
    drawn_runs,
    mean_window,
    num_gaps,
    stroke,
)
from vicmae.visualization.page import check_picture, count, render_page, write_page


@dataclass(frozen=True, eq=False)
class ReconstructionRow:
    """What the decoder made of one picture.

    Args:
        kind: ``images`` or ``videos``; of a video this is one frame.
        label: Name of the picture's class; may be empty.
        source: Where the picture comes from, a file name for instance.
        original: The picture, uint8 of shape (H, W, 3), RGB.
        masked: The picture with what was hidden painted over, same shape.
        output: The picture as reconstructed, same shape.
    """

    kind: str
    label: str
    source: str
    original: np.ndarray
    masked: np.ndarray
    output: np.ndarray

    def __post_init__(self) -> None:
        check_kind(self.kind)
        for name in ('original', 'masked', 'output'):
            check_picture(getattr(self, name), name)


@dataclass(frozen=True, eq=False)
class Neighbour:
    """One of the labelled pictures nearest to a query.

    Args:
        picture: The picture or a frame of the video, uint8 of shape (H, W, 3), RGB.
        label: Name of its class.
        similarity: Cosine similarity of its features to those of the query.
    """

    picture: np.ndarray
    label: str
    similarity: float

    def __post_init__(self) -> None:
        check_picture(self.picture, 'picture')


@dataclass(frozen=True, eq=False)
class NeighbourRow:
    """A query and what two backbones find nearest to it, nearest first.

    Args:
        kind: ``images`` or ``videos``.
        picture: The query, uint8 of shape (H, W, 3), RGB.
        label: Name of its class.
        pretrained: Neighbours by the features of the pretrained backbone.
        random_init: Neighbours by the features of the backbone before any training.
    """

    kind: str
    picture: np.ndarray
    label: str
    pretrained: Sequence[Neighbour]
    random_init: Sequence[Neighbour]

    def __post_init__(self) -> None:
        check_kind(self.kind)
        check_picture(self.picture, 'picture')


@dataclass(frozen=True)
class NextStep:
    """Something to try after reading the page.

    Args:
        text: What it does, in a sentence.
        command: What to type.
    """

    text: str
    command: str


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Args:
        title: Heading of the page.
        seconds: How long pretraining took.
        num_images: Number of images pretrained on.
        num_videos: Number of video clips pretrained on.
        probes: kNN accuracies, at most one for each kind of data.
        panels: Training curves.
        reconstructions: Pictures and what the decoder made of them.
        neighbours: Queries and their nearest neighbours.
        facts: Versions, machine, command, date, and what else belongs into the table.
        next_steps: What a reader may want to try, with commands.
    """

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
    """Write the page whole or not at all: an older one stays until the new one is complete.

    Args:
        report: What the page shows.
        path: The HTML file; its folder is made where it is missing.

    Returns:
        The path that was written.
    """
    return write_page(render_report(report), path)


def render_report(report: Report) -> str:
    """The page as one string of HTML."""
    curves = [(curve, panel.log) for panel in report.panels for curve in panel.curves]
    return render_page(
        'report.html',
        title=report.title,
        lede=describe_outcome(report),
        report=report,
        probes=_sorted_by_kind(report.probes),
        smoothed=any(mean_window(run) > 1 for curve in curves for run in drawn_runs(*curve)),
        totals=_neighbour_totals(report.neighbours),
        accuracy_figure=accuracy_figure,
        curve_figure=curve_figure,
        curve_change=curve_change,
        num_agreeing=num_agreeing,
        num_gaps=num_gaps,
        stroke=stroke,
    )


def describe_outcome(report: Report) -> str:
    """What happened, in two plain sentences made from the figures."""
    data = [
        count(number, noun)
        for number, noun in ((report.num_images, 'image'), (report.num_videos, 'video clip'))
        if number
    ]
    start = f'After {format_duration(report.seconds)} of pretraining'
    start += f' on {" and ".join(data)} without labels' if data else ''
    probes = _sorted_by_kind(report.probes)
    if not probes:
        return f'{start}, the backbone has not been evaluated. Give it labelled data to see what it is worth.'
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
    """A duration in words, with the two units that matter."""
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
    """How often the pictured neighbours agree with their queries."""
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
    """How many neighbours found by ``pretrained`` or ``random_init`` have the class of the query."""
    return sum(neighbour.label == row.label for neighbour in getattr(row, backbone))
