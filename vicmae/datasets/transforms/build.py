# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator, Sequence
from typing import Any

from vicmae.registry import TRANSFORMS


class Pipeline:
    """Runs transforms, given as configs or objects, on a sample or on several visits to one file.

    A transform with a method `transform_together` (`FileTransform`) gets all visits at once.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        # MMEngine's registry finds vicmae's transforms only with a default scope.
        self.transforms = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in transforms]

    def __call__(self, results: dict[str, Any]) -> Any:
        return self.run_together([results])[0]

    def run_together(self, visits: list[dict[str, Any]]) -> list[Any]:
        """Runs several visits to one file, each a dict with its own `rng`."""
        for transform in self.transforms:
            together = getattr(transform, 'transform_together', None)
            visits = together(visits) if together else [transform(visit) for visit in visits]
        return visits

    def __iter__(self) -> Iterator[Any]:
        return iter(self.transforms)

    def __repr__(self) -> str:
        return f'Pipeline({self.transforms})'
