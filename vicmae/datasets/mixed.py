# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import difflib
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from vicmae.errors import ConfigError
from vicmae.registry import DATASETS

from .sample_key import SampleKey, as_sample_key
from .sources.source import Source


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Several sources as one data set, with the share that each has of an epoch and of a batch.

    Which samples an epoch visits is `MixtureSampler`'s to decide.

    Args:
        sources: Data sets by name, as configs or built. One that is None is left out, so that a config's
            source can be switched off: `--cfg-options train_dataloader.dataset.sources.videos=None`.
        weights: Share of each source, in any unit, by name. Without them each source has its size as its
            share: every sample is visited once an epoch.

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
            name: DATASETS.build(source) if isinstance(source, dict) else source
            for name, source in sources.items()
            if source is not None
        }
        if not built:
            raise ConfigError(
                f'`sources` of MixedDataset are all switched off (got {", ".join(sources) or "none"}). '
                'Give at least one.'
            )
        self.names = tuple(built)
        self.sources = tuple(built.values())
        self.sizes = tuple(len(source) for source in self.sources)
        self.visits_per_opening = tuple(getattr(s, 'visits_per_opening', 1) for s in self.sources)
        self.weights = self._read_weights(weights, known=tuple(sources))
        self._ends = np.cumsum(self.sizes)
        for number, source in enumerate(self.sources):
            if isinstance(source, Source):
                source.first_index = self.span_of(number)[0]

    @property
    def metainfo(self) -> dict[str, Any]:
        """What each source knows of itself, such as its classes."""
        return {
            n: getattr(s, 'metainfo', {}) for n, s in zip(self.names, self.sources, strict=True)
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: SampleKey | int) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[Any]:
        """Loads several samples; neighbours of one source together."""
        samples: list[Any] = []
        for number, group in groupby(
            map(as_sample_key, keys), key=lambda key: self.source_of(key.index)
        ):
            start, _ = self.span_of(number)
            own = [key._replace(index=key.index - start) for key in group]
            source = self.sources[number]
            together = getattr(source, '__getitems__', None)
            samples += together(own) if together else [source[key] for key in own]
        return samples

    def path_of(self, index: int) -> str:
        """What people call the sample."""
        number = self.source_of(index)
        return self.sources[number].path_of(index - self.span_of(number)[0])

    def drain_notes(self) -> dict[str, int]:
        """What the transforms of all sources had to say since the last time, and how often."""
        notes: Counter[str] = Counter()
        for source in self.sources:
            notes.update(getattr(source, 'drain_notes', dict)())
        return dict(notes)

    def source_of(self, index: int) -> int:
        """Number of the source that a sample belongs to."""
        return int(np.searchsorted(self._ends, index, side='right'))

    def span_of(self, number: int) -> tuple[int, int]:
        """First index of a source, and the one behind its last."""
        end = int(self._ends[number])
        return end - self.sizes[number], end

    def _read_weights(
        self, weights: dict[str, float] | None, known: tuple[str, ...]
    ) -> tuple[float, ...]:
        if weights is None:
            return tuple(float(size) for size in self.sizes)
        unknown = [name for name in weights if name not in known]
        missing = [name for name in self.names if name not in weights]
        if unknown or missing:
            raise ConfigError(
                f'`weights` must name each source ({", ".join(self.names)}), '
                f'got {", ".join(weights) or "none"}.'
            )
        values = tuple(float(weights[name]) for name in self.names)
        if min(values) < 0 or sum(values) <= 0:
            raise ConfigError(
                f'`weights` must not be negative, and one must be positive, got {dict(weights)}.'
            )
        return values


def _require_type(name: str, source: Any, sources: dict[str, Any]) -> None:
    """Refuses a source of which only settings are there, as an override makes that misspells a name."""
    if not isinstance(source, dict) or 'type' in source:
        return
    others = [other for other in sources if other != name]
    near = difflib.get_close_matches(name, others, n=1)
    meant = f'did you mean `{near[0]}`?' if near else f'there are {", ".join(others) or "none"}.'
    raise ConfigError(
        f'There is no source `{name}` whose {", ".join(f"`{key}`" for key in source) or "settings"} could be set: '
        f'{meant} A new one needs a `type`.'
    )
