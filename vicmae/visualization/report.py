# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The report of a pretraining run: plain data in, one self-contained HTML file out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from .charts import (
    KINDS,
    CurvePanel,
    ProbeResult,
    accuracy_chart,
    check_kind,
    curve_change,
    curve_chart,
    drawn_runs,
    mean_window,
    num_gaps,
    series_class,
)
from .page import check_picture, count, empty, picture, render_page, section, write_page

_PICTURE_WIDTH = 128
_MAX_COLUMNS = 5  # neighbours side by side


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
    sections = (
        _probe_section(report.probes),
        _curve_section(report.panels),
        _reconstruction_section(report.reconstructions),
        _neighbour_section(report.neighbours),
        _next_section(report.next_steps),
        _fact_section(report.facts),
    )
    return render_page(report.title, describe_outcome(report), sections)


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


def _picture(pixels: np.ndarray, alt: str) -> str:
    return picture(pixels, alt, width=_PICTURE_WIDTH)


def _sorted_by_kind(probes: Sequence[ProbeResult]) -> list[ProbeResult]:
    return sorted(probes, key=lambda probe: KINDS.index(probe.kind))


def _probe_section(probes: Sequence[ProbeResult]) -> str:
    note = (
        'The backbone is frozen and nothing is trained here: the nearest labelled samples vote on the class '
        'of each sample that was held back. Thin lines are 95% intervals.'
    )
    figures = ''.join(_probe_figure(probe) for probe in _sorted_by_kind(probes))
    content = (
        f'<div class="charts">{figures}</div>' if figures else empty('No accuracy was measured.')
    )
    return section('What the features are worth', note, content)


def _probe_figure(probe: ProbeResult) -> str:
    sign = '+' if probe.gain >= 0 else '\u2212'
    counts = (
        f'{count(probe.num_queries, probe.kind[:-1])} classified by {probe.num_bank:,} labelled ones '
        f'of {probe.num_classes:,} classes'
    )
    return (
        '<figure>'
        f'<figcaption class="chart-head"><h3 class="kind-{probe.kind}">{probe.kind.capitalize()}</h3>'
        f'<span class="gain">{sign}{abs(probe.gain):.1f} <small>points over random weights</small></span>'
        f'</figcaption>{accuracy_chart(probe)}<p class="note">{counts}</p></figure>'
    )


def _curve_section(panels: Sequence[CurvePanel]) -> str:
    figures = ''.join(_panel_figure(panel) for panel in panels)
    content = (
        f'<div class="charts">{figures}</div>' if figures else empty('No curves were recorded.')
    )
    note = 'What was optimised, and what was watched along the way.'
    runs = (
        run for panel in panels for curve in panel.curves for run in drawn_runs(curve, panel.log)
    )
    if any(mean_window(run) > 1 for run in runs):
        note += ' The pale line shows each value, the strong line their running mean.'
    return section('How training went', note, content)


def _panel_figure(panel: CurvePanel) -> str:
    chart = curve_chart(panel) or empty('Nothing was recorded for this chart.')
    gaps = num_gaps(panel)
    warning = ''
    if gaps:
        verb = 'is' if gaps == 1 else 'are'
        reason = 'not finite or not positive' if panel.log else 'not finite'
        warning = f'<p class="note">{count(gaps, "value")} {verb} {reason} and left out.</p>'
    scale = ' <span class="small">logarithmic scale</span>' if panel.log else ''
    return (
        f'<figure><figcaption><h3>{escape(panel.title)}{scale}</h3>{_legend(panel)}</figcaption>'
        f'{chart}{warning}</figure>'
    )


def _legend(panel: CurvePanel) -> str:
    """Each curve with its stroke, and where it began and ended."""
    items = []
    for index, curve in enumerate(panel.curves):
        css = series_class(curve.name, index)
        stroke = f'<svg viewBox="0 0 20 8" aria-hidden="true"><path class="line {css}" d="M1 4H19"/></svg>'
        items.append(
            f'<li>{stroke}{escape(curve.name)}&ensp;{escape(curve_change(curve, panel))}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _reconstruction_section(rows: Sequence[ReconstructionRow]) -> str:
    note = 'The input, what the encoder was shown of it, and what the decoder made of that.'
    content = ''
    for kind in KINDS:
        figures = ''.join(_reconstruction_figure(row) for row in rows if row.kind == kind)
        if figures:
            content += (
                f'<h3 class="kind-{kind}">{kind.capitalize()}</h3><div class="rows">{figures}</div>'
            )
    return section('Reconstructions', note, content or empty('No reconstructions were made.'))


def _reconstruction_figure(row: ReconstructionRow) -> str:
    name = row.label or row.source
    source = f' <span class="small">{escape(row.source)}</span>' if row.label and row.source else ''
    pictures = ''.join(
        f'<div>{_picture(picture, f"{name}, {title}")}<span>{title}</span></div>'
        for picture, title in (
            (row.original, 'input'),
            (row.masked, 'masked'),
            (row.output, 'output'),
        )
    )
    caption = f'<figcaption>{escape(name)}{source}</figcaption>'
    return f'<figure>{caption}<div class="triple">{pictures}</div></figure>'


def _neighbour_section(rows: Sequence[NeighbourRow]) -> str:
    content = ''
    for kind in KINDS:
        of_kind = [row for row in rows if row.kind == kind]
        if of_kind:
            queries = ''.join(_query(row) for row in of_kind)
            content += f'<h3 class="kind-{kind}">{kind.capitalize()}</h3>{queries}'
    note = (
        'For each query, the labelled samples with the most similar features, nearest first, with '
        'their cosine similarity. \u2713 in a solid green frame: the class agrees. '
        '\u2717 in a dashed red frame: it does not.'
    )
    return section(
        'Nearest neighbours',
        f'{note} {_neighbour_totals(rows)}'.strip(),
        content or empty('No neighbours were looked up.'),
    )


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


def _query(row: NeighbourRow) -> str:
    return (
        f'<div class="query"><figure class="asked">{_picture(row.picture, f"query: {row.label}")}'
        f'<figcaption>{escape(row.label)}<br><span class="small">query</span></figcaption></figure>'
        f'{_strip(row, "pretrained", "Pretrained")}{_strip(row, "random_init", "Random weights")}</div>'
    )


def _strip(row: NeighbourRow, backbone: str, heading: str) -> str:
    neighbours: Sequence[Neighbour] = getattr(row, backbone)
    if not neighbours:
        return f'<div class="strip"><p>{heading} <span>none</span></p></div>'
    columns = min(len(neighbours), _MAX_COLUMNS)
    items = ''.join(_neighbour(neighbour, row.label) for neighbour in neighbours)
    agreement = f'{num_agreeing(row, backbone)} of {len(neighbours)} agree'
    return (
        f'<div class="strip"><p>{heading} <span>{agreement}</span></p>'
        f'<ol style="--columns:{columns}">{items}</ol></div>'
    )


def _neighbour(neighbour: Neighbour, query_label: str) -> str:
    css, mark, verdict = ('wrong', '\u2717', 'another class')
    if neighbour.label == query_label:
        css, mark, verdict = ('right', '\u2713', 'same class')
    picture = _picture(neighbour.picture, f'{neighbour.label}, {verdict}')
    return (
        f'<li class="{css}">{picture}<b>{mark}</b> {escape(neighbour.label)}'
        f'<i>{neighbour.similarity:.2f}</i></li>'
    )


def _next_section(steps: Sequence[NextStep]) -> str:
    if not steps:
        return ''
    items = ''.join(
        f'<li>{escape(step.text)}<pre><code>{escape(step.command)}</code></pre></li>'
        for step in steps
    )
    return section(
        'What to try next', 'From the root of the project:', f'<ol class="steps">{items}</ol>'
    )


def _fact_section(facts: Mapping[str, str]) -> str:
    if not facts:
        return ''
    rows = ''.join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return section(
        'The run', 'What made this page, for who wants to repeat it.', f'<table>{rows}</table>'
    )
