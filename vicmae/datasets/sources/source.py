# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What all sources of samples have in common, wherever their files lie."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from torch.utils.data import Dataset

from ..sample_key import SampleKey, as_sample_key
from ..transforms.build import Pipeline


class Source(Dataset):
    """Samples of one kind by number, each run through a pipeline.

    A subclass says how many there are (`__len__`) and what is known of each (`get_data_info`).

    Args:
        pipeline: Transforms of a sample.
        visits_per_opening: How many samples are drawn from a file each time that it is opened (repeated
            sampling). The epoch has as many samples as without it, of fewer files: those of k epochs are visited
            k times each in one of them. It spares opening and seeking, which is most of the work for videos.
        tags: What every sample carries besides, such as `dict(probe='images', role='bank')`.
    """

    kind = 'file'
    first_index = 0  # of its samples in the `MixedDataset` that it is part of

    def __init__(
        self,
        *,
        pipeline: Sequence[Any] | None = None,
        visits_per_opening: int = 1,
        tags: dict[str, str] | None = None,
    ) -> None:
        if visits_per_opening < 1:
            raise ValueError(f'`visits_per_opening` must be at least 1, got {visits_per_opening}.')
        self.pipeline = Pipeline(pipeline or [])
        self.visits_per_opening = visits_per_opening
        self.tags = tags or {}
        self.metainfo: dict[str, Any] = {}
        self._notes: Counter[str] = Counter()

    def __len__(self) -> int:
        raise NotImplementedError  # each subclass has its own

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What is known of a sample before its file is opened.

        At least `path`, which names it to people, and `gt_label` (-1 for none); `media` is what is opened where
        that isn't the file at `path`, such as bytes out of a shard.
        """
        raise NotImplementedError  # each subclass has its own

    def path_of(self, index: int) -> str:
        """What people call the sample."""
        return self.get_data_info(index)['path']

    def __getitem__(self, key: SampleKey | int) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[Any]:
        """Loads several samples; neighbours of one index from one opening of their file."""
        samples: list[Any] = []
        for index, group in groupby(map(as_sample_key, keys), key=lambda key: key.index):
            samples += self.pipeline.run_together(self.begin(index, group, self._notes))
        return samples

    def begin(
        self, index: int, keys: Iterable[SampleKey], notes: Counter[str]
    ) -> list[dict[str, Any]]:
        """What the first transform gets of visits to one sample."""
        known = {**self.get_data_info(index), **self.tags, 'kind': self.kind, 'notes': notes}
        known['sample_idx'] = self.first_index + index
        return [{**known, 'rng': key.generator()} for key in keys]

    def drain_notes(self) -> dict[str, int]:
        """What transforms had to say since the last time, and how often: `results['notes'][text] += 1`."""
        notes = dict(self._notes)
        self._notes.clear()
        return notes
