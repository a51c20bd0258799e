# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Renders the page of a model's input, and frame gaps as text."""

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.config import Config
from PIL import Image

from vicmae.visualization.charts import histogram_figure, histogram_text
from vicmae.visualization.page import count, render_page

from .browse import ShownSample, ShownSource
from .gaps import GapDraws

_FRAME_SIDE = 360  # pixels of the longer side of an untouched frame on the page
_DIFFERS = ', which is another size: make both the same by `image_size`'
_PERCENTILES = (5, 25, 50, 75, 95)


def render_browsed(
    sources: Sequence[ShownSource],
    *,
    config: str,
    epoch: int,
    facts: dict[str, str],
    sizes: str = '',
) -> str:
    """Returns the page as HTML, with `sizes` above the samples and `facts` in the table at its end."""
    shown = ', '.join(f'{len(source.samples)} {source.name}' for source in sources)
    lede = f'{shown}: the first of epoch {epoch} of {config}, through all that happens to them in training.'
    bad: dict[str, str] = {}
    for source in sources:
        bad |= source.bad | (source.gaps.bad if source.gaps else {})
    return render_page(
        'browse.html',
        title='The input of the model',
        lede=lede,
        sources=sources,
        sizes=sizes,
        bad=bad,
        facts=facts,
        describe_draws=_describe_draws,
        describe_figures=_describe_figures,
        describe_gap=_describe_gap,
        describe_notes=_describe_notes,
        describe_shares=_describe_shares,
        histogram_figure=histogram_figure,
        shrink=_shrink,
    )


def describe_sizes(sources: Sequence[ShownSource], cfg: Config) -> str:
    """Describes in words how large the model's input is, its patch grid, and what the backbone was built for."""
    backbone = cfg.model.get('backbone') or {}
    patch, built = backbone.get('patch_size', 16), backbone.get('img_size')
    shapes = {
        view.view.shape[:2] for source in sources for one in source.samples for view in one.views
    }
    words = [
        f'The model gets {width} x {height} px: {width // patch} x {height // patch} patches of {patch} px.'
        for height, width in sorted(shapes)
    ]
    if built is not None and shapes:
        rows, columns = (built, built) if isinstance(built, int) else built
        differs = any(shape != (rows, columns) for shape in shapes)
        words.append(
            f'The backbone is built for {columns} x {rows} px{_DIFFERS if differs else ""}.'
        )
    return ' '.join(words)


def gap_text(name: str, gaps: GapDraws) -> str:
    """Formats the gaps of a source for a terminal."""
    lines = [f'{name}: {_describe_draws(gaps)}', *_describe_notes(gaps), _describe_bad(gaps)]
    if len(gaps.seconds):
        lines[1:1] = [_describe_figures(gaps), '', histogram_text(gaps.seconds, unit='s'), '']
    return '\n'.join(line for line in lines if line is not None).rstrip()


def _describe_shares(source: ShownSource) -> str:
    if not source.shares:
        return 'not one batch'
    shares = 100 * np.array(source.shares)
    return f'{shares.mean():.1f}% on average, {shares.min():.1f} to {shares.max():.1f}%'


def _describe_gap(sample: ShownSample) -> str:
    frames = sample.frame_ids[-1] - sample.frame_ids[0]
    if len(sample.frame_ids) > 2:
        clips = 'clip' if sample.num_clips == 1 else f'{sample.num_clips} clips'
        length = len(sample.frame_ids) // sample.num_clips
        return f'{clips} of {length} frames in {frames / sample.fps:.2f} s'
    return f'gap {frames / sample.fps:.2f} s, {count(frames, "frame")}'


def _shrink(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    image.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
    return np.asarray(image)


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
