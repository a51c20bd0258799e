# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts checkpoints of other code to vicmae's format and back.

The module of each format has a table of its tensors. Most are the same in vicmae, under other names. Where a format
stores queries, keys and values, or positions, in another way, vicmae's tensors are computed from them.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from vicmae.errors import CheckpointError, ConfigError
from vicmae.utils.files import require_folder, whole_file, why_unwritten
from vicmae.utils.names import name_some
from vicmae.version import __version__

from ..read import read_checkpoint, require_checkpoint
from . import official
from .formats import CHECKPOINT_FORMATS, FORMATS, OURS, detect_format, has_format
from .table import Place

__all__ = ['CHECKPOINT_FORMATS', 'Conversion', 'convert_checkpoint']

_PATCH_EMBEDDINGS = ('patch_embed.projection.weight', 'patch_embed.proj.weight')


class Mapped(NamedTuple):
    """A tensor that was written, alone or joined with others of one target. The shape is that of the source."""

    source: str
    target: str
    shape: tuple[int, ...]


class Unused(NamedTuple):
    """A key that was not written. It has no shape if it is not a tensor."""

    source: str
    shape: tuple[int, ...] | None
    reason: str


class Computed(NamedTuple):
    """A tensor that was written, although the source doesn't store it."""

    target: str
    shape: tuple[int, ...]
    note: str


class Conversion(NamedTuple):
    """The result of a conversion, key by key.

    Attributes:
        source_format: One of `CHECKPOINT_FORMATS`, as `target_format`.
        mapped: Tensors that were written.
        computed: Tensors that were written, although the source doesn't store them.
        unused: Keys of the source that were not written.
        missing: Keys of the target format that the source lacks.
        absent: Parts of the model without any key. Their layers, whose number is unknown, are not in `missing`.
        left_behind: Entries of the file that are not weights.
        options: Options of a config that a model with these weights needs, if they were converted to vicmae's format.
    """

    source_format: str
    target_format: str
    mapped: list[Mapped]
    computed: list[Computed]
    unused: list[Unused]
    missing: list[str]
    absent: list[str]
    left_behind: list[str]
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Converts to plain values, for JSON."""
        return {
            **self._asdict(),
            'mapped': [entry._asdict() for entry in self.mapped],
            'computed': [entry._asdict() for entry in self.computed],
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
        one_way = self.source_format in FORMATS and not FORMATS[self.source_format].two_way
        layout = (
            " in the official code's layout" if self.target_format == OURS and not one_way else ''
        )
        groups = {
            f'mapped from `{self.source_format}` to `{self.target_format}`': [
                f'{entry.source} -> {entry.target} {entry.shape}' for entry in self.mapped
            ],
            'computed': [f'{entry.target} {entry.shape} ({entry.note})' for entry in self.computed],
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
        if not self.computed:
            del groups['computed']
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
    conversion, tensors = _convert(weights, source_format, target_format, left_behind)
    if source_format != target_format:
        _require_encoder(conversion, tensors, source)
    for path in outputs:
        require_folder(path.parent, 'target')
    _write_whole(target, partial(_save, tensors, conversion, target.suffix == '.safetensors'))
    if report is not None:
        text = json.dumps(conversion.as_dict(), indent=2) + '\n'
        _write_whole(Path(report), lambda file: file.write(text.encode()))
    return conversion


def _convert(
    weights: Mapping[str, Any], source_format: str, target_format: str, left_behind: list[str]
) -> tuple[Conversion, dict[str, Tensor]]:
    """Returns the result for each key, and the tensors under the keys of the target format."""
    # Another file type, with unchanged weights.
    if source_format == target_format:
        same = [Mapped(key, key, tuple(value.shape)) for key, value in weights.items()]
        conversion = Conversion(source_format, target_format, same, [], [], [], [], left_behind, {})
        return conversion, dict(weights)
    to_ours = target_format == OURS
    other_format = FORMATS[source_format if to_ours else target_format]
    places = other_format.table_of(weights).places(weights, of_vicmae=not to_ours)
    if not to_ours:
        places = [place.reversed() for place in places]
    reasons = _why_unused(weights, places, target_format)
    made = [place for place in places if not any(reasons.get(k, '-') for k in place.needs)]
    tensors = {place.target: place.compute(weights) for place in made}
    targets = {source: place.target for place in made for source in place.sources}
    shapes = {key: tuple(v.shape) if isinstance(v, Tensor) else None for key, v in weights.items()}
    # MAE's weights are part of a ViC-MAE.
    wanted = (
        official.TABLE.places(weights, of_vicmae=False)
        if to_ours and other_format.two_way
        else places
    )
    filled = {place.part for place in wanted if place.target in tensors}
    conversion = Conversion(
        source_format=source_format,
        target_format=target_format,
        mapped=[Mapped(key, targets[key], shapes[key] or ()) for key in weights if key in targets],
        computed=[
            Computed(place.target, tuple(tensors[place.target].shape), place.note)
            for place in made
            if not place.sources
        ],
        unused=[Unused(key, shapes[key], reasons[key]) for key in weights if key not in targets],
        missing=[place.target for place in wanted if place.target not in tensors],
        absent=[part for part in dict.fromkeys(p.part for p in wanted) if part not in filled],
        left_behind=left_behind,
        options=other_format.model_options(tensors) if to_ours else {},
    )
    return conversion, tensors


def _why_unused(
    weights: Mapping[str, Any], places: list[Place], target_format: str
) -> dict[str, str]:
    """Returns for each key why it can't be used, or ''."""
    place_of = {source: place for place in places for source in place.sources}
    reasons = {}
    for key, value in weights.items():
        reasons[key] = ''
        if key not in place_of:
            reasons[key] = f'not in `{target_format}`'
        elif not isinstance(value, Tensor):
            reasons[key] = f'{type(value).__name__} instead of a tensor'
        elif value.ndim != place_of[key].ndim:
            # Such as the patch embedding of videos, or a projector of other layers.
            reasons[key] = f'{value.ndim} dimensions instead of {place_of[key].ndim}'
    # Layers with the same number may be different layers.
    projector = {key for key in weights if key.startswith('projector.')}
    if projector != {key for key in place_of if key.startswith('projector.')}:
        for key in projector:
            reasons[key] = (
                reasons[key] or 'the projector is not Linear-norm-ReLU, twice, and Linear'
            )
    unusable = {key for key, reason in reasons.items() if reason}
    for place in places:
        lacking = [key for key in place.needs if key not in weights or key in unusable]
        for source in place.sources:
            if source in weights and lacking and not reasons[source]:
                reasons[source] = f'{lacking[0]} is missing'
    return reasons


def _save(
    tensors: Mapping[str, Tensor], conversion: Conversion, safe: bool, file: BinaryIO
) -> None:
    """Writes tensors as a checkpoint of the target format."""
    is_ours = conversion.target_format == OURS
    meta = dict(vicmae_version=__version__, converted_from=conversion.source_format)
    if safe:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        file.write(save(tensors, metadata=meta if is_ours else {}))
    else:
        tensors = dict(tensors)
        torch.save(dict(meta=meta, state_dict=tensors) if is_ours else dict(model=tensors), file)


def _targets_of(source_format: str) -> list[str]:
    """Lists the formats to which a format can be converted."""
    if source_format != OURS:
        return [OURS]
    return [OURS, *(name for name in FORMATS if FORMATS[name].two_way)]


def _require_pair(source_format: str, target_format: str) -> None:
    for name in (source_format, target_format):
        if name not in CHECKPOINT_FORMATS:
            raise ConfigError(
                f'Unknown checkpoint format {name!r}. Use one of: {", ".join(CHECKPOINT_FORMATS)}.'
            )
    if target_format in _targets_of(source_format):
        return
    reason = (
        f'checkpoints of {target_format!r} are only read, as their tensors differ'
        if source_format == OURS
        else f'one of the formats must be {OURS!r}'
    )
    raise ConfigError(
        f"Can't convert from {source_format!r} to {target_format!r}: {reason}. "
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
    if has_format(weights, checkpoint_format):
        return
    detected = detect_format(weights)
    problem = f'{str(path)!r} is not a `{checkpoint_format}` checkpoint.'
    if detected in (None, checkpoint_format):
        raise CheckpointError(
            f'{problem} Its first keys are: {", ".join(list(weights)[:3])}. '
            f'The formats are: {", ".join(CHECKPOINT_FORMATS)}.'
        )
    targets = [name for name in _targets_of(detected) if name != detected]
    raise CheckpointError(
        f'{problem} It looks like a `{detected}` checkpoint: use --from {detected}, with --to {" or ".join(targets)}.'
    )


def _require_encoder(conversion: Conversion, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuses weights without a patch embedding or without layers: no model could use them."""
    problem = f"{str(path)!r} can't be converted to `{conversion.target_format}`:"
    to_ours = conversion.target_format == OURS
    for key in conversion.unused:
        if key.source.endswith(_PATCH_EMBEDDINGS) and len(key.shape or ()) == 5:
            image_format = conversion.source_format if to_ours else conversion.target_format
            clip_formats = [name for name in FORMATS if not FORMATS[name].two_way]
            raise CheckpointError(
                f'{problem} it is of a model of clips (`{key.source}` has {key.reason}), and `{image_format}` is a '
                'format of models of images. '
                + (
                    f'Formats of models of clips are: {", ".join(clip_formats)}.'
                    if to_ours
                    else f'Convert a model of images, or use this one in vicmae: `model.pretrained={path}`.'
                )
            )
    patches, layers = (
        ('backbone.patch_embed.projection.weight', 'backbone.layers.')
        if to_ours
        else ('patch_embed.proj.weight', 'blocks.')
    )
    lacking = [] if patches in tensors else [f'patch embedding (`{patches}`)']
    if not any(name.startswith(layers) for name in tensors):
        lacking.append(f'layers (`{layers}0...`)')
    if lacking:
        keys = [
            *(entry.source for entry in conversion.mapped),
            *(key.source for key in conversion.unused),
        ]
        raise CheckpointError(
            f'{problem} its encoder would have no {" and no ".join(lacking)}. Give the checkpoint of a whole encoder '
            f'in the format `{conversion.source_format}`. The keys of this one are: {name_some(keys)}.'
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
