# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts checkpoints of other code to ours and back.

All hold the same tensors under different names. The file of each format has the table of names.
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
# Parts of the model that a format has; ours has them all.
_PARTS = {_OURS: tuple(MODULES), 'vicmae-official': tuple(MODULES), 'mae': tuple(mae.MODULES)}
CHECKPOINT_FORMATS = tuple(_PARTS)


class Mapped(NamedTuple):
    """A tensor that both formats have."""

    source: str
    target: str
    shape: tuple[int, ...]


class Unused(NamedTuple):
    """A key that was not written; it has no shape if it is not a tensor."""

    source: str
    shape: tuple[int, ...] | None
    reason: str


class Conversion(NamedTuple):
    """What became of each key.

    Args:
        source_format: One of `CHECKPOINT_FORMATS`, as `target_format`.
        mapped: Tensors that were written, bit for bit.
        unused: Keys of the source that were not written.
        missing: Keys of the target format that the source lacks.
        absent: Parts of the model of which there is nothing. `missing` doesn't have their layers, whose number isn't
            known.
        left_behind: What the file held beside weights.
    """

    source_format: str
    target_format: str
    mapped: list[Mapped]
    unused: list[Unused]
    missing: list[str]
    absent: list[str]
    left_behind: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **self._asdict(),
            'mapped': [entry._asdict() for entry in self.mapped],
            'unused': [entry._asdict() for entry in self.unused],
        }

    def summary(self) -> str:
        """The numbers in one line."""
        return (
            f'{len(self.mapped)} keys mapped, {len(self.unused)} unused, {len(self.missing)} missing; '
            f'{len(self.left_behind)} left behind that are no weights'
        )

    def __str__(self) -> str:
        """Every key in a line of its own."""
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
            'left behind, for they are no weights': self.left_behind,
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

    Only tensors and plain values are read: no code in the file is run. Files are written whole or not at all.

    Args:
        source: The checkpoint to read.
        target: The one to write; named *.safetensors, it is one.
        source_format: One of `CHECKPOINT_FORMATS`; this or the other has to be 'vicmae', or both.
        target_format: The other one.
        report: Also write what became of each key, as JSON.
        force: Whether to write over files that are there.
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
    """All tensors that a format has, with `depths` layers per part."""
    for part in _PARTS[checkpoint_format]:
        modules = list(MODULES[part])
        for i in range(depths.get(part, 0)):
            official, ours = (stem.format(i=i) for stem in LAYERS[part])
            modules += [(f'{official}.{a}', f'{ours}.{b}', kind) for a, b, kind in LAYER]
        for official, ours, kind in modules:
            for suffix, ndim in kind.items():
                yield _Place(part, official + suffix, ours + suffix, ndim)


def _count_layers(weights: Mapping[str, Any], checkpoint_format: str) -> dict[str, int]:
    """The number of layers per part, counted up to the last: a gap shows as missing keys."""
    depths = {}
    for part, stems in LAYERS.items():
        stem = stems[1] if checkpoint_format == _OURS else stems[0]
        pattern = re.compile(re.escape(stem).replace(r'\{i\}', r'(\d+)') + r'\.')
        found = [pattern.match(key) for key in weights]
        depths[part] = max((int(match[1]) + 1 for match in found if match), default=0)
    return depths


def _compare(
    weights: Mapping[str, Any], source_format: str, target_format: str, left_behind: list[str]
) -> Conversion:
    if source_format == target_format:  # another file, with all weights as they are
        same = [Mapped(key, key, tuple(value.shape)) for key, value in weights.items()]
        return Conversion(source_format, target_format, same, [], [], [], left_behind)
    depths = _count_layers(weights, source_format)
    known = {place.name(source_format): place for place in _places(source_format, depths)}
    wanted = list(_places(target_format, depths))
    # Layers of the same number need not be the same layers.
    projector = {key for key in weights if key.startswith('projector.')}
    has_other_projector = projector != {key for key in known if key.startswith('projector.')}
    mapped, unused = [], []
    for key, value in weights.items():
        place = known.get(key)
        reason = _why_unused(value, place, target_format)
        if has_other_projector and key in projector and not reason:
            reason = 'a projector of other layers than Linear-norm-ReLU, twice, and Linear'
        if place is None or reason:
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            unused.append(Unused(key, shape, reason))
        else:
            mapped.append(Mapped(key, place.name(target_format), tuple(value.shape)))
    filled = {entry.target for entry in mapped}
    present = {place.part for place in wanted if place.name(target_format) in filled}
    return Conversion(
        source_format=source_format,
        target_format=target_format,
        mapped=mapped,
        unused=unused,
        missing=[p.name(target_format) for p in wanted if p.name(target_format) not in filled],
        absent=[part for part in _PARTS[target_format] if part not in present],
        left_behind=left_behind,
    )


def _why_unused(value: Any, place: _Place | None, target_format: str) -> str:
    if place is None or place.part not in _PARTS[target_format]:
        return f'no place in `{target_format}`'
    if not isinstance(value, Tensor):
        return f'no tensor, but {type(value).__name__}'
    if value.ndim != place.ndim:
        # Such as the patch embedding of videos, or a projector of other layers.
        return f'{value.ndim} dimensions instead of {place.ndim}'
    return ''


def _save(weights: Mapping[str, Any], conversion: Conversion, safe: bool, file: BinaryIO) -> None:
    """Writes weights where the readers of the target format look for them."""
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
    """The formats that one can be converted to."""
    return [name for name in _PARTS if _OURS in (name, source_format)]


def _require_pair(source_format: str, target_format: str) -> None:
    for name in (source_format, target_format):
        if name not in _PARTS:
            raise ConfigError(
                f'Unknown checkpoint format {name!r}. Use one of: {", ".join(_PARTS)}.'
            )
    if target_format not in _targets_of(source_format):
        raise ConfigError(
            f"Can't convert from {source_format!r} to {target_format!r}: one side has to be {_OURS!r}. "
            f'Use --from {source_format} --to {" or ".join(_targets_of(source_format))}.'
        )


def _require_free(source: Path, outputs: list[Path], force: bool) -> None:
    """Refuses to overwrite files without `force`, and the source in any case."""
    for path in outputs:
        if path.exists() and path.samefile(source):
            raise CheckpointError(
                f"{str(path)!r} is the checkpoint that is read, and isn't written over. Choose another place."
            )
        if path.is_dir():
            raise CheckpointError(f"Can't write {str(path)!r}: it is a folder. Name a file in it.")
        if path.exists() and not force:
            raise CheckpointError(
                f'There is a file {str(path)!r} already. Choose another place, or write over it with --force.'
            )
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise CheckpointError(
            f"The checkpoint and the report can't both be written to {str(outputs[0])!r}. Choose another --report."
        )


def _require_format(weights: Mapping[str, Any], path: Path, checkpoint_format: str) -> None:
    """Refuses a file of another format, and says which it is."""
    if _has_format(weights, checkpoint_format):
        return
    found = next((name for name in _PARTS if _has_format(weights, name)), None)
    if found is None:
        some = ', '.join(list(weights)[:3])
        raise CheckpointError(
            f'{str(path)!r} has no key of a `{checkpoint_format}` checkpoint; its first ones are: {some}. '
            f'The formats are: {", ".join(_PARTS)}.'
        )
    if found != _OURS and not any(key.startswith('projector.') for key in weights):
        found = 'mae'
    raise CheckpointError(
        f'{str(path)!r} has no key of a `{checkpoint_format}` checkpoint; this looks like a `{found}` checkpoint: '
        f'use --from {found}, with --to {" or ".join(t for t in _targets_of(found) if t != found)}.'
    )


def _has_format(weights: Mapping[str, Any], checkpoint_format: str) -> bool:
    """Whether a key identifies the format. The projector's names don't: two formats share them."""
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
    except (OSError, RuntimeError) as error:  # PyTorch's own writer raises the latter
        raise CheckpointError(
            f"Can't write {str(path)!r}: {why_unwritten(error)}. Make room, or choose another place."
        ) from error
