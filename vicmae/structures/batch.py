# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Batches, from the loader through the preprocessor to the model.

B samples, V views, C channels, T H W frames and pixels.
"""

from collections.abc import Mapping, Sequence
from itertools import count, islice
from typing import Any, TypeVar

from torch import Tensor

from vicmae.errors import DataError

# The label of a sample whose class is unknown.
NO_LABEL = -1

_B = TypeVar('_B', bound='_Batch')


class _Batch(dict[str, Any]):
    """A batch of samples: a dict with the arguments of the model.

    MMEngine moves dicts to the device and calls the model with them. Unlike a dict's, `len` is the number of samples.
    """

    @property
    def inputs(self) -> Any:
        """Pixels of the batch."""
        return self['inputs']

    def replace(self: _B, **items: Any) -> _B:
        """Copies the batch with other items."""
        return type(self)(**{**self, **items})

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self)} samples: {", ".join(self)})'


class Views(_Batch):
    """Batch of samples without labels, for pretraining: one tensor per view.

    Args:
        inputs: V tensors (B, C, [T], H, W).
        items: `seeds` (B,) of the masks; `augment`, V tensors (B, F) with the values of `vicmae.structures.FIELDS`;
            `times`, V tensors (B,) with the time in the video, in seconds, that each view shows.
    """

    def __init__(self, inputs: Sequence[Tensor], **items: Any) -> None:
        views = list(inputs) if isinstance(inputs, (list, tuple)) else []
        if not views or not all(isinstance(view, Tensor) for view in views):
            raise DataError(
                'A batch for pretraining has a list with one tensor for each view in `inputs`, (B, C, H, W) of images '
                f'or (B, C, T, H, W) of clips, got {_say(inputs)}. End the pipeline with `PackViews`, and set '
                "`train_dataloader.collate_fn=dict(type='default_collate')`, or 'collate_by_kind' for batches of both."
            )
        if len({len(view) for view in views}) > 1:
            raise DataError(
                f'The views of a batch must have the same samples, got {[len(view) for view in views]} of them. '
                'Make the same number of views of each sample.'
            )
        super().__init__(inputs=views, **items)

    def __len__(self) -> int:
        return len(self.inputs[0])

    def sample(self, index: int) -> list[Tensor]:
        """Returns the pixels of a sample, one tensor per view."""
        return [view[index] for view in self.inputs]


class Clips(_Batch):
    """Batch of images or clips, for transfer and evaluation: one tensor per sample, or one for all.

    Args:
        inputs: B samples, each an image (C, H, W), a clip (T, C, H, W) or several views of one (V, T, C, H, W); or
            stacked images (B, C, H, W) or clips (B, T, C, H, W).
        items: `data_samples`, a list of B data samples with labels.
    """

    def __init__(self, inputs: Sequence[Tensor] | Tensor, **items: Any) -> None:
        if not isinstance(inputs, Tensor) and not all(isinstance(x, Tensor) for x in inputs):
            raise DataError(
                f'A batch of images or clips has one tensor for each sample in `inputs`, got {_say(inputs)}. End the '
                'pipeline with `PackImage` or `PackClip`.'
            )
        super().__init__(inputs=inputs, **items)

    @property
    def data_samples(self) -> Any:
        """Labels and origins of the samples; may be empty."""
        return self.get('data_samples') or []

    def __len__(self) -> int:
        return len(self.inputs)

    def sample(self, index: int) -> list[Tensor]:
        """Returns the pixels of a sample, one image or clip per view."""
        pixels = self.inputs[index]
        return list(pixels) if pixels.ndim == 5 else [pixels]


class Mixed(_Batch):
    """Batch of samples of several kinds, such as images and clips: one batch for each kind (`collate_by_kind`).

    The batches in `inputs` are plain dicts, since DDP can't copy other dicts to a device; `batches` has their types.

    Args:
        inputs: `Views` or `Clips`, or dicts that `as_batch` converts to them.
        positions: Where the samples of each batch are in the order of the loader. By default one batch follows the
            other.
    """

    def __init__(
        self,
        inputs: Sequence[Mapping[str, Any]],
        positions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        batches = [as_one_kind(batch) for batch in inputs]
        super().__init__(inputs=[dict(batch) for batch in batches])
        numbers = count()
        self.positions = positions or [list(islice(numbers, len(batch))) for batch in batches]

    @property
    def batches(self) -> list['Views | Clips']:
        """The batch of each kind."""
        return [as_one_kind(batch) for batch in self.inputs]

    def replace(self, **items: Any) -> 'Mixed':
        """Copies the batch with other items."""
        return Mixed(**{**self, 'positions': self.positions, **items})

    def __len__(self) -> int:
        return sum(map(len, self.positions))

    def sample(self, index: int) -> list[Tensor]:
        """Returns the pixels of a sample, in the order of the loader, one tensor per view."""
        for batch, positions in zip(self.batches, self.positions, strict=True):
            if index in positions:
                return batch.sample(positions.index(index))
        raise IndexError(f'The batch has {len(self)} samples, got index {index}.')


Batch = Views | Clips | Mixed


def is_mixed(inputs: Any) -> bool:
    """Returns whether the `inputs` of a batch are batches of one kind each, as those of `Mixed` are."""
    return isinstance(inputs, (list, tuple)) and any(isinstance(one, Mapping) for one in inputs)


def as_batch(data: Any) -> Batch:
    """Converts a dict with `inputs` to a batch: of data samples to `Clips`, of batches to `Mixed`, else to `Views`."""
    if isinstance(data, Mixed):
        return data
    if isinstance(data, Mapping) and is_mixed(data.get('inputs')):
        return Mixed(**data)
    return as_one_kind(data)


def as_one_kind(data: Any) -> Views | Clips:
    """Converts a dict with `inputs` to a batch of one kind."""
    if isinstance(data, (Views, Clips)):
        return data
    if not isinstance(data, Mapping) or 'inputs' not in data:
        raise DataError(
            f'A batch is a dict with `inputs`, got {_say(data)}. End the pipeline with `PackViews`, `PackImage` or '
            '`PackClip`.'
        )
    return (Views if data.get('data_samples') is None else Clips)(**data)


def _say(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'a tensor {tuple(value.shape)}'
    if isinstance(value, Mapping):
        return f'a dict with {", ".join(map(str, value)) or "nothing"}'
    if isinstance(value, (list, tuple)) and value:
        return f'a {type(value).__name__} of {len(value)}, the first {_say(value[0])}'
    return f'a {type(value).__name__}'
