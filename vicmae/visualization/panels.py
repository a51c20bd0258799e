# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Panels that compare models on one input: colours of patches, attention, nearest patches, reconstructions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .looks import Look
from .nearest_patches import Place, find_nearest_patches, patch_at
from .patch_colors import PatchColors
from .reconstruction import Reconstructions
from .sheets import Tile, enlarge, frame_patch, heat_map, shown_frame, spread_over_pixels

_MOST_NEAREST = 5  # inputs in which the nearest patch is shown

Looks = Mapping[str, Sequence[Look]]  # of each model, in the order of the inputs


@dataclass(frozen=True, eq=False)
class Panel:
    """Rows of pictures about one input.

    Attributes:
        what: 'pca', 'attention', 'nearest' or 'reconstruction'.
        name: File name of the input.
        rows: The pictures; a clip has several frames.
    """

    what: str
    name: str
    rows: Sequence[Sequence[Tile]]

    @property
    def is_clip(self) -> bool:
        """Whether a picture of it moves."""
        return any(len(tile.frames) > 1 for row in self.rows for tile in row)


def color_panels(names: Sequence[str], looks: Looks) -> tuple[list[Panel], dict[str, np.ndarray]]:
    """Colours patches by one PCA of all inputs for each model.

    Returns:
        The panels, and the share of the variance along the three components of each model.
    """
    colors = {label: PatchColors([look.tokens for look in each]) for label, each in looks.items()}
    panels = []
    for number, name in enumerate(names):
        row = [_input_tile(looks, number)]
        for label, each in looks.items():
            frames = each[number].frames
            pixels = spread_over_pixels(colors[label](each[number].tokens), frames)
            row.append(Tile(label if len(looks) > 1 else 'PCA', pixels))
        panels.append(Panel('pca', name, [row]))
    return panels, {label: each.explained.numpy() for label, each in colors.items()}


def attention_panels(names: Sequence[str], looks: Looks) -> list[Panel]:
    """Draws the attention that each patch gets, from 0 (dark) to the highest share of the input."""
    panels = []
    for number, name in enumerate(names):
        row = [_input_tile(looks, number)]
        for label, each in looks.items():
            shares = each[number].attention.numpy()
            pixels = heat_map(shares, each[number].frames, low=0.0, high=float(shares.max()))
            row.append(Tile(label if len(looks) > 1 else 'attention', pixels))
        panels.append(Panel('attention', name, [row]))
    return panels


def nearest_panels(
    names: Sequence[str], looks: Looks, point: tuple[float, float] = (0.5, 0.5)
) -> list[Panel]:
    """Draws a patch of each input and, in the other inputs, the most similar patch over a map of the similarity.

    Args:
        names: File names of the inputs.
        looks: What the models compute for them.
        point: Where the chosen patch is, (x, y) as shares of width and height.
    """
    return [
        Panel('nearest', name, [_nearest_row(names, label, each, number, point, len(looks) > 1)
                                for label, each in looks.items()])
        for number, name in enumerate(names)
    ]  # fmt: skip


def _nearest_row(
    names: Sequence[str],
    label: str,
    looks: Sequence[Look],
    number: int,
    point: tuple[float, float],
    with_label: bool,
) -> list[Tile]:
    query = looks[number]
    place = patch_at(query.tokens.shape[:3], point)
    others = [n for n in range(len(looks)) if n != number]
    nearest = find_nearest_patches(query.tokens[place], [looks[n].tokens for n in others])
    nearest = nearest[:_MOST_NEAREST]
    low = min(float(patch.similarities.min()) for patch in nearest)
    high = max(patch.similarity for patch in nearest)
    title = f'{label}: chosen patch' if with_label else 'chosen patch'
    row = [Tile(title, _framed(query.frames, query, place))]
    for patch in nearest:
        look = looks[others[patch.number]]
        heat = heat_map(patch.similarities.numpy(), look.frames, low=low, high=high)
        heat = _uncovered(heat, look, patch.place)
        title = f'{patch.similarity:.2f} {names[others[patch.number]]}'
        row.append(Tile(title, _framed(heat, look, patch.place)))
    return row


def _uncovered(heat: np.ndarray, look: Look, place: Place) -> np.ndarray:
    """Shows the pixels of one patch below a heat map."""
    is_shown = np.zeros(look.tokens.shape[:3], bool)
    is_shown[place] = True
    return np.where(spread_over_pixels(is_shown, look.frames)[..., None], look.frames, heat)


def _framed(frames: np.ndarray, look: Look, place: Place) -> np.ndarray:
    """Draws a box around a patch in the frame of its time step: (T, H, W, 3) -> (1, H, W, 3)."""
    grid = look.tokens.shape[:3]
    frame = shown_frame(frames, place[0], grid[0])
    return frame_patch(enlarge(frame), place, grid)[None]


def reconstruction_panels(
    names: Sequence[str], drawn: Mapping[str, Sequence[Reconstructions]]
) -> list[Panel]:
    """Shows input, visible patches and reconstruction, (T, H, W, 3) each: a row for each model."""
    panels = []
    for number, name in enumerate(names):
        rows = []
        for label, each in drawn.items():
            prefix = f'{label}: ' if len(drawn) > 1 else ''
            titles = ('input', 'masked', 'reconstruction')
            pairs = zip(titles, each[number], strict=True)
            rows.append([Tile(prefix + title, frames) for title, frames in pairs])
        panels.append(Panel('reconstruction', name, rows))
    return panels


def _input_tile(looks: Looks, number: int) -> Tile:
    """Returns the input as the first model gets it."""
    return Tile('input', next(iter(looks.values()))[number].frames)
