# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a target of an export does."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from vicmae.checkpoints.convert.table import Table
from vicmae.errors import ConfigError
from vicmae.utils.files import whole_file

from ..encoder import Encoder

WEIGHTS = 'model.safetensors'


class Placed(NamedTuple):
    """A tensor of an export, and the tensors of the model from which it is made."""

    tensor: Tensor
    sources: tuple[str, ...]


class Opened(NamedTuple):
    """An export as the library that it is for opens it.

    Attributes:
        encode: Encodes normalised pixels.
        weights: The tensors that the library holds. None where it holds a graph instead.
    """

    encode: Callable[[Tensor], Tensor]
    weights: dict[str, Tensor] | None


class Target(ABC):
    """A library or format to which encoders are exported.

    Attributes:
        name: What `--to` calls it.
        packages: What is needed to open it.
        writes_with_them: Whether these packages are needed to write, too.
        usage: Python that opens an export, for the model card. `{out}` is its folder.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    writes_with_them: ClassVar[bool] = False
    usage: ClassVar[str]

    @abstractmethod
    def why_not(self, encoder: Encoder) -> str:
        """Returns why an encoder can't be exported to this target, or ''."""

    @abstractmethod
    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        """Returns the tensors to write, by their name in the target."""

    @abstractmethod
    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        """Writes the files."""

    @abstractmethod
    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        """Opens the files with the target's library."""

    def omitted(self, encoder: Encoder) -> dict[str, str]:
        """Returns tensors of the model's encoder that the target doesn't need, with the reason."""
        return {}

    def require_packages(self) -> None:
        """Raises a ConfigError if a package is missing."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f'`{self.name}` needs {" and ".join(missing)}: pip install {" ".join(missing)}'
            )


def place_by_table(table: Table, encoder: Encoder) -> dict[str, Placed]:
    """Names the tensors of a model by the table of a format in which they stay unchanged."""
    placed = {}
    for place in table.places(encoder.weights, of_vicmae=True):
        if place.target in encoder.weights:
            (name,) = place.sources
            placed[name] = Placed(encoder.weights[place.target], (place.target,))
    return placed


def save_tensors(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> None:
    """Writes tensors as safetensors."""
    from safetensors.torch import save

    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as file:
        file.write(save(whole, metadata={'format': 'pt', **metadata}))


def save_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes JSON."""
    with whole_file(path) as file:
        file.write((json.dumps(content, indent=2) + '\n').encode())


def why_not_plain(encoder: Encoder, *, clips: bool = False) -> str:
    """Returns why an encoder is no plain ViT of images with a class token, or of clips without one, or ''."""
    backbone = encoder.backbone
    if backbone.takes_clips and not clips:
        return 'it encodes clips, and this is a format of models of images'
    if not backbone.takes_clips and clips:
        return 'it encodes images, and this is a format of models of clips'
    if not backbone.final_norm:
        return 'it has no norm after the last layer'
    return ''


def why_not_mean(encoder: Encoder) -> str:
    """Returns why features of an encoder are no mean over its patch tokens, or ''."""
    if encoder.pooling == 'avg':
        return ''
    return f'it pools by {type(encoder.model.aggregator).__name__}; only a mean is compared'
