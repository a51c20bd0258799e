# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws frame gaps from the real lengths of a source's videos, without decoding."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from vicmae.datasets.sample_key import SampleKey
from vicmae.datasets.sources.source import Source
from vicmae.errors import ConfigError, DataError

from .steps import steps

_MAX_VIDEOS = 250


@dataclass(frozen=True, eq=False)
class GapDraws:
    """The gaps that a source's frame sampler drew.

    Attributes:
        sampler: The sampler, as it prints itself.
        seconds: Time from the first to the last frame of each draw.
        num_videos: How many videos were opened.
        notes: What the sampler had to say of a video, such as that its window doesn't fit, and of how many.
        bad: Why a video couldn't be opened, by its path.
    """

    sampler: str
    seconds: np.ndarray
    num_videos: int
    notes: dict[str, int]
    bad: dict[str, str]


def draw_gaps(source: Source, *, num_draws: int = 1000, seed: int = 0) -> GapDraws:
    """Draws so many pairs or a few more from videos of a source, as many from each."""
    num_videos = min(len(source), _MAX_VIDEOS, num_draws)
    chosen = np.random.default_rng(seed).choice(len(source), num_videos, replace=False)
    seconds: list[float] = []
    notes: Counter[str] = Counter()
    sampler, bad = '', {}
    for index in chosen.tolist():
        keys = [SampleKey(seed, 0, index, visit) for visit in range(-(-num_draws // num_videos))]
        try:
            sampler, visits = _draw(source, keys)
        except DataError as error:
            bad[source.path_of(index)] = str(error)
            continue
        seconds += [gap_seconds(visit) for visit in visits]
        notes.update(set(visits[0]['notes']))  # each once a video, however often it was drawn from
    return GapDraws(sampler, np.array(seconds), num_videos - len(bad), dict(notes), bad)


def gap_seconds(results: dict[str, Any]) -> float:
    """Returns the time from the first to the last of the chosen frames."""
    ids = results['frame_ids']
    return float((ids[-1] - ids[0]) / results['fps'])


def _draw(source: Source, keys: list[SampleKey]) -> tuple[str, list[dict[str, Any]]]:
    """Runs the pipeline up to its frame sampler: how that prints itself, and what it drew."""
    for transform, visits in steps(source, keys):
        if 'frame_ids' in visits[0]:
            visits[0]['reader'].close()
            return repr(transform), visits
    raise ConfigError(
        f'Nothing in the pipeline {source.pipeline} chooses frames (adds `frame_ids`): it has no gaps. '
        'Put a frame sampler such as DistantFramePair between OpenVideo and DecodeFrames.'
    )
