# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs a source's pipeline step by step, and yields the result of each transform."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from vicmae.datasets.sample_key import SampleKey
from vicmae.datasets.sources.source import Source
from vicmae.datasets.transforms.build import Pipeline


def steps(source: Source, keys: Sequence[SampleKey]) -> Iterator[tuple[Any, list[Any]]]:
    """Loads visits to one file as `source[key]` would; yields each transform and what it made of the visits."""
    visits: list[Any] = source.begin(keys[0].index, keys, Counter())
    for transform in source.pipeline:
        visits = Pipeline([transform]).run_together(visits)
        yield transform, visits
