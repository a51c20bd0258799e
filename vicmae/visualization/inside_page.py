# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The pictures and the page of `vicmae show`."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vicmae.utils.files import whole_file
from vicmae.utils.names import name_some

from .page import count, render_page, write_page
from .panels import Panel
from .sheets import READABLE_SIDE, encode_sheet

_STRIP_FRAMES = 4  # of a clip, on the page
_LONGEST_STEM = 50  # characters of an input's name in those of pictures

_HEADINGS = {
    'pca': (
        'Patches by colour (PCA)',
        'The first three principal components of the patch tokens as red, green and blue. Each model has one PCA of '
        'all inputs: equal colours mean similar tokens. Colours of different models do not compare.',
    ),
    'attention': (
        'Attention',
        'How much attention each patch gets in the last layer, mean over the heads: that of the class token, or of the '
        'mean patch where a model has no class token. From none (black) to the highest share in the input (yellow).',
    ),
    'nearest': (
        'Nearest patches',
        'A patch, and the most similar patch of other inputs, with the cosine of their tokens. Colours are the '
        'similarity of each patch, from the lowest (black) to the highest (yellow) of the row.',
    ),
    'reconstruction': (
        'Reconstructions',
        'The input, what the encoder sees of it, and what the decoder predicts for the masked patches.',
    ),
}


@dataclass(eq=False)
class Inside:
    """What models compute for some inputs, as pictures.

    Attributes:
        names: File names of the inputs.
        labels: Names of the models.
        panels: One for each input and each part.
        notes: What isn't shown, and why.
        explained: Share of the variance along the three components of each model's PCA.
    """

    names: Sequence[str]
    labels: Sequence[str]
    panels: list[Panel]
    notes: Sequence[str] = ()
    explained: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_inside(
    inside: Inside,
    folder: Path,
    facts: Mapping[str, str],
    *,
    report: Callable[[float], None] = lambda share: None,
) -> Path:
    """Writes each panel as PNG or mp4, and all of them as one page, whose path is returned.

    All is drawn before anything is written, and the page is written last.

    Args:
        inside: What to write.
        folder: An existing folder.
        facts: What the page says about the models, by name.
        report: Called with the share of the pictures that are drawn.
    """
    files = {}
    for number, panel in enumerate(inside.panels, start=1):
        extension, content = encode_sheet(panel.rows)
        files[f'{_stem_of(panel, inside)}{extension}'] = content
        report(number / len(inside.panels))
    page = render_inside(inside, facts)
    for name, content in files.items():
        with whole_file(folder / name) as file:
            file.write(content)
    return write_page(page, folder / 'index.html')


def _stem_of(panel: Panel, inside: Inside) -> str:
    """Returns the name of a panel's picture, with the number of its input."""
    number = list(inside.names).index(panel.name) + 1
    stem = os.path.splitext(panel.name)[0].strip('/').replace('/', '-')[-_LONGEST_STEM:]
    return f'{panel.what}-{number:02d}-{stem}'


def render_inside(inside: Inside, facts: Mapping[str, str]) -> str:
    """Returns the page as a string of HTML."""
    who = 'the model computes' if len(inside.labels) == 1 else 'each model computes'
    parts = dict.fromkeys(panel.what for panel in inside.panels)
    variance = {
        f'variance in the colours of {label}': ', '.join(f'{100 * v:.0f} %' for v in shares)
        for label, shares in inside.explained.items()
    }
    return render_page(
        'inside.html',
        title=f'Inside {name_some(inside.labels)}',
        lede=f'{count(len(inside.names), "input")}, and what {who} for the patches.',
        sections={
            part: (*_HEADINGS[part], [panel for panel in inside.panels if panel.what == part])
            for part in parts
        },
        notes=inside.notes,
        facts={**facts, **variance},
        strip=strip,
        side=READABLE_SIDE,
    )


def strip(frames: np.ndarray) -> np.ndarray:
    """Returns evenly spaced frames of a clip: (T, H, W, 3) -> at most (4, H, W, 3)."""
    steps = np.linspace(0, len(frames) - 1, min(len(frames), _STRIP_FRAMES)).round().astype(int)
    return frames[steps]
