# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The base of all sources of samples."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from torch.utils.data import Dataset

from ..sample_key import SampleKey, as_sample_key
from ..transforms.build import Pipeline


class Source(Dataset):
    """Samples of one kind by number, each run through a pipeline.

    A subclass implements `__len__` and `get_data_info`.

    Args:
        pipeline: Transforms of a sample.
        visits_per_opening: Number of samples drawn from a file when it is opened (repeated sampling), which saves
            most of the work for videos. The length of an epoch and the batch size stay, as both count samples; with k
            visits, an epoch opens one of k files, and k epochs open all. Epochs of MAE-ST (800 'effective' ones) and of
            OmniMAE (4 clips of a video, a quarter of the passes) are counted like this, and learning rates follow from
            the batch size as they are.
        tags: Further items of every sample, such as `dict(probe='images', role='bank')`, or `dict(head='images')` for
            the head of a `SupervisedJoint` that classifies it.
    """

    kind = 'file'
    first_index = 0  # position in the `MixedDataset` that it is part of
    name = ''  # the name there

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
        # Of the tags, the head is kept in checkpoints, with the classes.
        self.metainfo: dict[str, Any] = {k: v for k, v in self.tags.items() if k == 'head'}
        self._notes: Counter[str] = Counter()

    def __len__(self) -> int:
        raise NotImplementedError  # each subclass has its own

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Returns `path` (the name in messages), `gt_label` (-1 for none) and other items of a sample.

        `media` is opened instead of the file at `path`: for example, bytes of a shard.
        """
        raise NotImplementedError  # each subclass has its own

    def path_of(self, index: int) -> str:
        """Returns the file of a sample, for messages."""
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
        """Returns the input of the first transform for visits to one sample."""
        info = {**self.get_data_info(index), **self.tags, 'kind': self.kind, 'notes': notes}
        if self.name:
            info['source'] = self.name
        info['sample_idx'] = self.first_index + index
        return [{**info, 'rng': key.generator()} for key in keys]

    def drain_notes(self) -> dict[str, int]:
        """Returns and clears the counts of notes by transforms: `results['notes'][text] += 1`."""
        notes = dict(self._notes)
        self._notes.clear()
        return notes
