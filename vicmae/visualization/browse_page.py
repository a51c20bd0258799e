# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The page of what a model gets, and the frame gaps as text."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from PIL import Image

from vicmae.datasets.gaps import GapDraws

from .browse import ShownSample, ShownSource, ShownView
from .histogram import histogram_chart, histogram_text
from .page import count, empty, picture, picture_uri, render_page, section

_FRAME_SIDE = 360  # pixels of the longer side of an untouched frame on the page
_VIEW_WIDTH = 150
_MAX_PNG_PIXELS = 96 * 96  # there are many
_PERCENTILES = (5, 25, 50, 75, 95)


def render_browsed(
    sources: Sequence[ShownSource], *, config: str, epoch: int, facts: dict[str, str]
) -> str:
    """The page as one string of HTML.

    Args:
        sources: What to show.
        config: Name of the config.
        epoch: Which epoch it is.
        facts: What the table at the end holds.
    """
    shown = ', '.join(f'{len(source.samples)} {source.name}' for source in sources)
    lede = f'{shown}: the first of epoch {epoch} of {config}, through all that happens to them in training.'
    sections = [
        _share_section(sources),
        *(_sample_section(source) for source in sources),
        *(_gap_section(source.name, source.gaps) for source in sources if source.gaps),
        _bad_section(sources),
        _fact_section(facts),
    ]
    return render_page('What the model gets', lede, sections)


def gap_text(name: str, gaps: GapDraws) -> str:
    """The gaps of a source as text for a terminal."""
    lines = [f'{name}: {_describe_draws(gaps)}', *_describe_notes(gaps), _describe_bad(gaps)]
    if len(gaps.seconds):
        lines[1:1] = [_describe_figures(gaps), '', histogram_text(gaps.seconds, unit='s'), '']
    return '\n'.join(line for line in lines if line is not None).rstrip()


# ------------------------------------------------------------------------- shares
def _share_section(sources: Sequence[ShownSource]) -> str:
    rows = ''.join(
        f'<tr><th scope="row"><span class="kind-{source.kind}s">{escape(source.name)}</span></th>'
        f'<td>{count(source.size, source.kind)}</td><td>{_describe_shares(source)}</td></tr>'
        for source in sources
    )
    num_batches = len(sources[0].shares)
    return section(
        'What a batch holds',
        f'Counted in the first {count(num_batches, "batch").replace("batchs", "batches")} of the epoch.',
        f'<table class="wide"><tr><td>source</td><td>holds</td><td>share of a batch</td></tr>{rows}</table>',
    )


def _describe_shares(source: ShownSource) -> str:
    if not source.shares:
        return 'not one batch'
    shares = 100 * np.array(source.shares)
    return f'{shares.mean():.1f}% on average, {shares.min():.1f} to {shares.max():.1f}%'


# ------------------------------------------------------------------------- samples
def _sample_section(source: ShownSource) -> str:
    note = (
        'One line a view: the untouched frame with what was cut out of it, what the model gets, and what its '
        'encoder sees of that.'
    )
    if source.kind == 'image':
        note = note.replace('frame', 'image')
    figures = ''.join(_sample_figure(sample, source.kind) for sample in source.samples)
    content = f'<div class="samples">{figures}</div>' if figures else empty('None could be shown.')
    return section(source.name.capitalize(), note, content)


def _sample_figure(sample: ShownSample, kind: str) -> str:
    name = sample.path.rpartition('/')[2]
    label = f' <b>{escape(sample.label)}</b>' if sample.label else ''
    gap = ''
    if len(sample.frame_ids) > 1:
        frames = sample.frame_ids[-1] - sample.frame_ids[0]
        text = f'gap {frames / sample.fps:.2f} s, {count(frames, "frame")}'
        if len(sample.frame_ids) > 2:
            text = f'clip of {len(sample.frame_ids)} frames in {frames / sample.fps:.2f} s'
        gap = f' <span class="gap">{text}</span>'
    rows = ''.join(
        _view_row(view, f'{name}, view {n + 1}', sample.fps) for n, view in enumerate(sample.views)
    )
    return (
        f'<figure><figcaption><span class="kind-{kind}s">#{sample.place + 1:,}</span>{label}{gap}'
        f'<br><span class="small">{escape(sample.path)}</span></figcaption>{rows}</figure>'
    )


def _view_row(view: ShownView, name: str, fps: float) -> str:
    height, width = view.frame.shape[:2]
    origin = f'{width} x {height}'
    if view.frame_id is not None:
        origin = f'frame {view.frame_id:,}, {view.frame_id / fps:.2f} s'
    frame = picture_uri(_shrink(view.frame), _MAX_PNG_PIXELS)
    cells = [
        f'<div class="framed" style="--shape:{width / height:.3f}">'
        f'<img src="{frame}" alt="{escape(name)}, untouched">{_box(view)}</div>'
        f'<span>{origin}</span>'
    ]
    cells += [
        f'{picture(pixels, f"{name}, {title}", width=_VIEW_WIDTH, max_png_pixels=_MAX_PNG_PIXELS)}'
        f'<span>{title}</span>'
        for pixels, title in ((view.view, 'view'), (view.visible, 'visible'))
        if pixels is not None
    ]
    return f'<div class="view">{"".join(f"<div>{cell}</div>" for cell in cells)}</div>'


def _shrink(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    image.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
    return np.asarray(image)


def _box(view: ShownView) -> str:
    """Frames what was cut out, in percent of the frame's sides."""
    if view.box is None:
        return ''
    rows, columns = view.frame.shape[:2]
    top, left, height, width = view.box
    sides = dict(left=left / columns, top=top / rows, width=width / columns, height=height / rows)
    return f'<i style="{";".join(f"{side}:{100 * at:.2f}%" for side, at in sides.items())}"></i>'


# ------------------------------------------------------------------------- gaps
def _gap_section(name: str, gaps: GapDraws) -> str:
    if not len(gaps.seconds):
        chart = empty('No gaps were drawn.')
    else:
        chart = (
            '<div class="charts"><figure>'
            f'{histogram_chart(gaps.seconds, x_label="frame gap in seconds")}</figure></div>'
        )
    notes = [_describe_figures(gaps) if len(gaps.seconds) else '', *_describe_notes(gaps)]
    texts = ''.join(f'<p class="note">{escape(note)}</p>' for note in notes if note)
    return section(f'Frame gaps of {name}', f'{_describe_draws(gaps)}.', chart + texts)


def _describe_draws(gaps: GapDraws) -> str:
    return (
        f'{count(len(gaps.seconds), "draw")} of {gaps.sampler} from the real lengths of '
        f'{count(gaps.num_videos, "video")}'
    )


def _describe_figures(gaps: GapDraws) -> str:
    values = np.percentile(gaps.seconds, _PERCENTILES)
    parts = ', '.join(f'{p}% {value:.2f} s' for p, value in zip(_PERCENTILES, values, strict=True))
    return f'Mean gap {gaps.seconds.mean():.2f} s; percentiles: {parts}.'


def _describe_notes(gaps: GapDraws) -> Iterator[str]:
    for note, number in gaps.notes.items():
        share = 100 * number / gaps.num_videos
        yield f'{number:,} of {count(gaps.num_videos, "video")} ({share:.1f}%): {note}'


def _describe_bad(gaps: GapDraws) -> str | None:
    if not gaps.bad:
        return None
    lines = [f'  {path}: {reason}' for path, reason in gaps.bad.items()]
    return '\n'.join([f'{count(len(gaps.bad), "video")} could not be opened:', *lines])


# ------------------------------------------------------------------------- the end
def _bad_section(sources: Sequence[ShownSource]) -> str:
    bad: dict[str, str] = {}
    for source in sources:
        bad |= source.bad | (source.gaps.bad if source.gaps else {})
    if not bad:
        return section('Bad files', 'What could not be read.', empty('None among those opened.'))
    note = f'{count(len(bad), "file")} of those opened could not be read; training puts others in their place.'
    return section('Bad files', note, _table(bad))


def _fact_section(facts: dict[str, str]) -> str:
    return section('How this was made', 'For who wants to see it again.', _table(facts))


def _table(rows: dict[str, str]) -> str:
    lines = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table>{"".join(lines)}</table>'
