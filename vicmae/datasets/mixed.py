# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from vicmae.errors import ConfigError, DataError
from vicmae.registry import DATASETS

from .sample_key import SampleKey, as_sample_key
from .sources.source import Source


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Combines several sources to one data set, each with a share of each epoch and batch.

    `MixtureSampler` decides which samples an epoch visits.

    Args:
        sources: Data sets by name, as configs or objects. None disables a source:
            `--cfg-options train_dataloader.dataset.sources.videos=None`.
        weights: Share of each source, by name, in any unit. By default the size of the source, so that an epoch visits
            each sample once.

    Example:
        >>> pictures, clips = list(range(30)), list(range(10))
        >>> mixed = MixedDataset(dict(images=pictures, videos=clips), weights=dict(images=1, videos=1))
        >>> len(mixed), mixed.names, mixed.weights
        (40, ('images', 'videos'), (1.0, 1.0))
    """

    def __init__(self, sources: dict[str, Any], weights: dict[str, float] | None = None) -> None:
        for name, source in sources.items():
            _require_type(name, source, sources)
        built = {
            name: _build(name, source) if isinstance(source, dict) else source
            for name, source in sources.items()
            if source is not None
        }
        if not built:
            raise ConfigError(
                f'All `sources` of MixedDataset are disabled (got {", ".join(sources) or "none"}). '
                'Give at least one.'
            )
        self.names = tuple(built)
        self.sources = tuple(built.values())
        self.sizes = tuple(len(source) for source in self.sources)
        self.visits_per_opening = tuple(getattr(s, 'visits_per_opening', 1) for s in self.sources)
        self.weights = self._read_weights(weights, source_names=tuple(sources))
        self._ends = np.cumsum(self.sizes)
        for number, source in enumerate(self.sources):
            if isinstance(source, Source):
                source.first_index = self.span_of(number)[0]
                source.name = self.names[number]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Returns the meta information of each source, such as its classes."""
        named = zip(self.names, self.sources, strict=True)
        return {name: getattr(source, 'metainfo', {}) for name, source in named}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: SampleKey | int) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[Any]:
        """Loads several samples. Adjacent ones of one source are loaded together."""
        samples: list[Any] = []
        sample_keys = map(as_sample_key, keys)
        for number, group in groupby(sample_keys, key=lambda key: self.source_of(key.index)):
            start, _ = self.span_of(number)
            source_keys = [key._replace(index=key.index - start) for key in group]
            source = self.sources[number]
            together = getattr(source, '__getitems__', None)
            samples += together(source_keys) if together else [source[key] for key in source_keys]
        return samples

    def path_of(self, index: int) -> str:
        """Returns the file of a sample, for messages."""
        number = self.source_of(index)
        return self.sources[number].path_of(index - self.span_of(number)[0])

    def drain_notes(self) -> dict[str, int]:
        """Returns and clears the counts of events of all sources."""
        notes: Counter[str] = Counter()
        for source in self.sources:
            notes.update(getattr(source, 'drain_notes', dict)())
        return dict(notes)

    def source_of(self, index: int) -> int:
        """Returns the number of a sample's source."""
        return int(np.searchsorted(self._ends, index, side='right'))

    def span_of(self, number: int) -> tuple[int, int]:
        """Returns the range of a source's indices, half-open."""
        end = int(self._ends[number])
        return end - self.sizes[number], end

    def _read_weights(
        self, weights: dict[str, float] | None, source_names: tuple[str, ...]
    ) -> tuple[float, ...]:
        if weights is None:
            return tuple(float(size) for size in self.sizes)
        unknown = [name for name in weights if name not in source_names]
        missing = [name for name in self.names if name not in weights]
        if unknown or missing:
            names, weight_names = ', '.join(self.names), ', '.join(weights) or 'none'
            raise ConfigError(f'`weights` must name each source ({names}), got {weight_names}.')
        values = tuple(float(weights[name]) for name in self.names)
        if min(values) < 0 or sum(values) <= 0:
            raise ConfigError(
                f'`weights` must not be negative, and one must be positive, got {dict(weights)}.'
            )
        return values


def _build(name: str, source: dict[str, Any]) -> Any:
    """Builds a source. What is wrong with its data is said with its name."""
    try:
        return DATASETS.build(source)
    except DataError as error:
        raise DataError(f'source {name!r}: {error}') from error


def _require_type(name: str, source: Any, sources: dict[str, Any]) -> None:
    """Raises a ConfigError for a source without a type, such as from an override with a misspelt name."""
    if not isinstance(source, dict) or 'type' in source:
        return
    other_names = [other for other in sources if other != name]
    similar = difflib.get_close_matches(name, other_names, n=1)
    hint = (
        f'did you mean `{similar[0]}`?'
        if similar
        else f'there are {", ".join(other_names) or "none"}.'
    )
    settings = ', '.join(f'`{key}`' for key in source) or 'settings'
    raise ConfigError(
        f'There is no source `{name}` whose {settings} could be set: {hint} A new source needs a `type`.'
    )
