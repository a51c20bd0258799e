# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts checkpoints of other code to vicmae's format and back.

All formats have the same tensors under different names. The module of each format has the table of names.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from vicmae.errors import CheckpointError, ConfigError
from vicmae.utils.files import require_folder, whole_file, why_unwritten
from vicmae.version import __version__

from ..read import read_checkpoint, require_checkpoint
from . import mae
from .mae import LAYER, LAYERS
from .official import MODULES

_OURS = 'vicmae'
# Parts of the model that a format has. vicmae's has all of them.
_PARTS = {_OURS: tuple(MODULES), 'vicmae-official': tuple(MODULES), 'mae': tuple(mae.MODULES)}
CHECKPOINT_FORMATS = tuple(_PARTS)


class Mapped(NamedTuple):
    """A tensor that both formats have."""

    source: str
    target: str
    shape: tuple[int, ...]


class Unused(NamedTuple):
    """A key that was not written. It has no shape if it is not a tensor."""

    source: str
    shape: tuple[int, ...] | None
    reason: str


class Conversion(NamedTuple):
    """The result of a conversion, key by key.

    Attributes:
        source_format: One of `CHECKPOINT_FORMATS`, as `target_format`.
        mapped: Tensors that were written, unchanged.
        unused: Keys of the source that were not written.
        missing: Keys of the target format that the source lacks.
        absent: Parts of the model without any key. Their layers, whose number is unknown, are not in `missing`.
        left_behind: Entries of the file that are not weights.
    """

    source_format: str
    target_format: str
    mapped: list[Mapped]
    unused: list[Unused]
    missing: list[str]
    absent: list[str]
    left_behind: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Converts to plain values, for JSON."""
        return {
            **self._asdict(),
            'mapped': [entry._asdict() for entry in self.mapped],
            'unused': [entry._asdict() for entry in self.unused],
        }

    def summary(self) -> str:
        """Counts the keys of each kind, in one line."""
        return (
            f'{len(self.mapped)} keys mapped, {len(self.unused)} unused, {len(self.missing)} missing; '
            f'{len(self.left_behind)} other entries left out'
        )

    def __str__(self) -> str:
        """Lists each key on one line."""
        layout = " in the official code's layout" if self.target_format == _OURS else ''
        groups = {
            f'mapped from `{self.source_format}` to `{self.target_format}`': [
                f'{entry.source} -> {entry.target} {entry.shape}' for entry in self.mapped
            ],
            'unused': [
                ' '.join(map(str, filter(None, [entry.source, entry.shape, f'({entry.reason})'])))
                for entry in self.unused
            ],
            f'missing, for `{self.target_format}`{layout} has them': [
                *(f'{part}: absent' for part in self.absent),
                *self.missing,
            ],
            'left out, as they are not weights': self.left_behind,
        }
        lines = []
        for title, entries in groups.items():
            lines += [f'{title}:', *(f'  {entry}' for entry in entries or ['nothing'])]
        return '\n'.join(lines)


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    source_format: str,
    target_format: str,
    report: str | Path | None = None,
    force: bool = False,
) -> Conversion:
    """Writes a checkpoint in another format.

    Only tensors and plain values are read, and code in the file is not run. Files are written atomically.

    Args:
        source: The checkpoint to read.
        target: The checkpoint to write, as safetensors if the name ends in .safetensors.
        source_format: Format of the source, one of `CHECKPOINT_FORMATS`. At least one of both formats must be 'vicmae'.
        target_format: Format to write.
        report: JSON file to which the result for each key is written, if given.
        force: Whether existing files are overwritten.
    """
    source, target = Path(source), Path(target)
    outputs = [target] if report is None else [target, Path(report)]
    _require_pair(source_format, target_format)
    require_checkpoint(source)
    _require_free(source, outputs, force)
    weights, left_behind = read_checkpoint(source)
    _require_format(weights, source, source_format)
    conversion = _compare(weights, source_format, target_format, left_behind)
    for path in outputs:
        require_folder(path.parent, 'target')
    _write_whole(target, partial(_save, weights, conversion, target.suffix == '.safetensors'))
    if report is not None:
        text = json.dumps(conversion.as_dict(), indent=2) + '\n'
        _write_whole(Path(report), lambda file: file.write(text.encode()))
    return conversion


class _Place(NamedTuple):
    """The names of one tensor."""

    part: str
    official: str
    ours: str
    ndim: int

    def name(self, checkpoint_format: str) -> str:
        return self.ours if checkpoint_format == _OURS else self.official


def _places(checkpoint_format: str, depths: Mapping[str, int]) -> Iterator[_Place]:
    """Yields all tensors of a format, with `depths` layers per part."""
    for part in _PARTS[checkpoint_format]:
        modules = list(MODULES[part])
        for i in range(depths.get(part, 0)):
            official, ours = (stem.format(i=i) for stem in LAYERS[part])
            modules += [(f'{official}.{a}', f'{ours}.{b}', kind) for a, b, kind in LAYER]
        for official, ours, kind in modules:
            for suffix, ndim in kind.items():
                yield _Place(part, official + suffix, ours + suffix, ndim)


def _count_layers(weights: Mapping[str, Any], checkpoint_format: str) -> dict[str, int]:
    """Counts the layers per part, up to the last one: a gap shows as missing keys."""
    depths = {}
    for part, stems in LAYERS.items():
        stem = stems[1] if checkpoint_format == _OURS else stems[0]
        pattern = re.compile(re.escape(stem).replace(r'\{i\}', r'(\d+)') + r'\.')
        matches = [pattern.match(key) for key in weights]
        depths[part] = max((int(match[1]) + 1 for match in matches if match), default=0)
    return depths


def _compare(
    weights: Mapping[str, Any], source_format: str, target_format: str, left_behind: list[str]
) -> Conversion:
    # Another file type, with unchanged weights.
    if source_format == target_format:
        same = [Mapped(key, key, tuple(value.shape)) for key, value in weights.items()]
        return Conversion(source_format, target_format, same, [], [], [], left_behind)
    depths = _count_layers(weights, source_format)
    source_places = {place.name(source_format): place for place in _places(source_format, depths)}
    target_places = list(_places(target_format, depths))
    # Layers with the same number may be different layers.
    projector = {key for key in weights if key.startswith('projector.')}
    has_other_projector = projector != {
        key for key in source_places if key.startswith('projector.')
    }
    mapped, unused = [], []
    for key, value in weights.items():
        place = source_places.get(key)
        reason = _why_unused(value, place, target_format)
        if has_other_projector and key in projector and not reason:
            reason = 'the projector is not Linear-norm-ReLU, twice, and Linear'
        if place is None or reason:
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            unused.append(Unused(key, shape, reason))
        else:
            mapped.append(Mapped(key, place.name(target_format), tuple(value.shape)))
    filled = {entry.target for entry in mapped}
    present = {place.part for place in target_places if place.name(target_format) in filled}
    return Conversion(
        source_format=source_format,
        target_format=target_format,
        mapped=mapped,
        unused=unused,
        missing=[
            p.name(target_format) for p in target_places if p.name(target_format) not in filled
        ],
        absent=[part for part in _PARTS[target_format] if part not in present],
        left_behind=left_behind,
    )


def _why_unused(value: Any, place: _Place | None, target_format: str) -> str:
    if place is None or place.part not in _PARTS[target_format]:
        return f'not in `{target_format}`'
    if not isinstance(value, Tensor):
        return f'{type(value).__name__} instead of a tensor'
    if value.ndim != place.ndim:
        # Such as the patch embedding of videos, or a projector of other layers.
        return f'{value.ndim} dimensions instead of {place.ndim}'
    return ''


def _save(weights: Mapping[str, Any], conversion: Conversion, safe: bool, file: BinaryIO) -> None:
    """Writes weights under the keys of the target format."""
    tensors = {entry.target: weights[entry.source] for entry in conversion.mapped}
    is_ours = conversion.target_format == _OURS
    meta = dict(vicmae_version=__version__, converted_from=conversion.source_format)
    if safe:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        file.write(save(tensors, metadata=meta if is_ours else {}))
    else:
        torch.save(dict(meta=meta, state_dict=tensors) if is_ours else dict(model=tensors), file)


def _targets_of(source_format: str) -> list[str]:
    """Lists the formats to which a format can be converted."""
    return [name for name in _PARTS if _OURS in (name, source_format)]


def _require_pair(source_format: str, target_format: str) -> None:
    for name in (source_format, target_format):
        if name not in _PARTS:
            raise ConfigError(
                f'Unknown checkpoint format {name!r}. Use one of: {", ".join(_PARTS)}.'
            )
    if target_format not in _targets_of(source_format):
        raise ConfigError(
            f"Can't convert from {source_format!r} to {target_format!r}: one of the formats must be {_OURS!r}. "
            f'Use --from {source_format} --to {" or ".join(_targets_of(source_format))}.'
        )


def _require_free(source: Path, outputs: list[Path], force: bool) -> None:
    """Refuses to overwrite the source, and without `force` any other file."""
    for path in outputs:
        if path.exists() and path.samefile(source):
            raise CheckpointError(
                f"{str(path)!r} is the checkpoint to convert and can't be overwritten. Choose another path."
            )
        if path.is_dir():
            raise CheckpointError(f"Can't write {str(path)!r}: it is a folder. Name a file in it.")
        if path.exists() and not force:
            raise CheckpointError(
                f'{str(path)!r} already exists. Choose another path, or overwrite it with --force.'
            )
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise CheckpointError(
            f"The checkpoint and the report can't both be written to {str(outputs[0])!r}. Choose another --report."
        )


def _require_format(weights: Mapping[str, Any], path: Path, checkpoint_format: str) -> None:
    """Refuses a file of another format. The error names the format."""
    if _has_format(weights, checkpoint_format):
        return
    detected = next((name for name in _PARTS if _has_format(weights, name)), None)
    if detected is None:
        first_keys = ', '.join(list(weights)[:3])
        raise CheckpointError(
            f'{str(path)!r} has no key of a `{checkpoint_format}` checkpoint. Its first keys are: {first_keys}. '
            f'The formats are: {", ".join(_PARTS)}.'
        )
    if detected != _OURS and not any(key.startswith('projector.') for key in weights):
        detected = 'mae'
    raise CheckpointError(
        f'{str(path)!r} has no key of a `{checkpoint_format}` checkpoint. It looks like a `{detected}` checkpoint: '
        f'use --from {detected}, with --to {" or ".join(t for t in _targets_of(detected) if t != detected)}.'
    )


def _has_format(weights: Mapping[str, Any], checkpoint_format: str) -> bool:
    """Returns whether the keys have this format. Names of the projector don't count: two formats share them."""
    depths = _count_layers(weights, checkpoint_format)
    return any(
        place.name(checkpoint_format) in weights
        for place in _places(checkpoint_format, depths)
        if place.part != 'projector'
    )


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with whole_file(path) as file:
            write(file)
    # The writer of PyTorch raises RuntimeError.
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Can't write {str(path)!r}: {why_unwritten(error)}. Free some space, or choose another path."
        ) from error
