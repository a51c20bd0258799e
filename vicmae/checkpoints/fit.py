# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads weights into models.

`load_from` and `--resume` (the Runner), `model.pretrained` (`load_backbone`), `init_cfg` (`PretrainedInit`) and
`vicmae.apis.load_model` all call `load_weights`, which reports which keys were loaded.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from torch import Tensor, nn

from vicmae.errors import CheckpointError
from vicmae.registry import WEIGHT_INITIALIZERS
from vicmae.utils.distributed import unwrapped
from vicmae.utils.log import say, warn
from vicmae.utils.names import name_some

from .convert.formats import FORMATS, marked_format
from .read import find_weights, load_checkpoint
from .state import put_weights

# Prefixes of the backbone's keys in a checkpoint of pretraining; the first that occurs is used. The teacher is that of
# an `EMATarget` or of a `LatentPredictionLoss`.
BRANCHES = {
    'student': ('backbone.',),
    'teacher': ('target.backbone.', 'reconstruction.backbone.', 'head.reconstruction.backbone.'),
}
_PATCHES = 'patch_embed.projection.weight'
_OFFICIAL_PATCHES = 'patch_embed.proj.weight'
_MOST_NAMED = 6
_CONVERT = (
    'If it was written by other code, convert it first: python tools/model_converters/convert.py --from FORMAT --to '
    f'vicmae CHECKPOINT converted.pth. FORMAT is one of: {", ".join(FORMATS)}.'
)
_READS_NOTHING: ContextVar[bool] = ContextVar('reads_nothing', default=False)


class FitReport(NamedTuple):
    """The result of comparing the keys of a checkpoint with the weights of a model.

    Attributes:
        source: Name of the checkpoint in messages.
        mapped: Weights that both have, in the same shape.
        resized: Those of `mapped` that were fitted to the model's size, such as position embeddings.
        reshaped: Weights with different shapes, which are not loaded; the text shows both shapes.
        unused: Keys that only the checkpoint has.
        missing: Weights that only the model has.
    """

    source: str
    mapped: list[str]
    resized: list[str]
    reshaped: list[str]
    unused: list[str]
    missing: list[str]

    def misfits(self) -> list[str]:
        """Lists keys that are missing, unknown or of another shape, one line for each kind."""
        groups = {
            'missing from the checkpoint': self.missing,
            'unknown to the model': self.unused,
            'of another shape': self.reshaped,
        }
        return [
            f'  {len(keys)} {description}: {name_some(keys, _MOST_NAMED)}'
            for description, keys in groups.items()
            if keys
        ]

    def __str__(self) -> str:
        groups = {
            'resized': self.resized,
            'of another shape': self.reshaped,
            'unused': self.unused,
            'missing': self.missing,
        }
        counts = [
            f'{len(keys)} {description}' + (f' ({name_some(keys)})' if keys else '')
            for description, keys in groups.items()
        ]
        return f'Weights of {self.source}: {len(self.mapped)} mapped, {", ".join(counts)}.'


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Any],
    *,
    source: str,
    strict: bool = True,
    allow_unused: bool = False,
    advice: str = 'Use the config that it was trained with.',
) -> FitReport:
    """Loads weights into a model, sharded or not, and reports which keys were loaded.

    First, modules with a method `fit_checkpoint(weights, prefix)` adapt the weights: position embeddings of another
    grid, image models for clips, a missing EMA teacher. After an error, the model is unchanged.

    Args:
        model: The model or its distributed wrapper. For a sharded model, all processes must call this.
        weights: Weights by name, not sharded.
        source: Name of the weights in messages.
        strict: Whether weights that don't fit are an error. Otherwise those that fit are loaded.
        allow_unused: Whether unused keys are accepted, such as heads when only the backbone is loaded.
        advice: End of the error message: what to do if weights don't fit.
    """
    model = unwrapped(model)
    allow_unused = allow_unused or getattr(model, 'takes_backbone_alone', False)
    # Warnings of resizing are shown only if the weights are loaded.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        fitted, report = fit_weights(model, weights, source=source)
    complete = not (report.missing or report.reshaped)
    if not report.mapped or (strict and not (complete and (allow_unused or not report.unused))):
        raise CheckpointError(
            f'{source} does not fit the model: only {len(report.mapped)} of {len(model.state_dict())} weights fit.\n'
            + '\n'.join((report._replace(unused=[]) if allow_unused else report).misfits())
            + f'\n{_why_unfit(model.state_dict(), fitted) or (advice if report.mapped else f"{advice} {_CONVERT}")}'
        )
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    (say if complete else warn)(str(report))
    put_weights(model, {name: fitted[name] for name in report.mapped})
    return report


def fit_weights(
    model: nn.Module, weights: Mapping[str, Any], *, source: str = 'the checkpoint'
) -> tuple[dict[str, Any], FitReport]:
    """Fits weights to a model and compares them, without changing the model."""
    fitted, resized = dict(weights), set()
    for name, module in model.named_modules():
        if hasattr(module, 'fit_checkpoint'):
            before = {key: value.shape for key, value in fitted.items() if hasattr(value, 'shape')}
            module.fit_checkpoint(fitted, f'{name}.' if name else '')
            resized |= {k for k in before if k in fitted and fitted[k].shape != before[k]}
    model_state = model.state_dict()
    shared = [key for key in model_state if key in fitted]
    mapped = [
        key for key in shared if getattr(fitted[key], 'shape', None) == model_state[key].shape
    ]
    return fitted, FitReport(
        source=source,
        mapped=mapped,
        resized=[key for key in mapped if key in resized],
        reshaped=[
            f'{key} {tuple(getattr(fitted[key], "shape", ()))} instead of {tuple(model_state[key].shape)}'
            for key in shared
            if key not in mapped
        ],
        unused=[key for key in fitted if key not in model_state],
        missing=[key for key in model_state if key not in fitted],
    )


def load_backbone(backbone: nn.Module, path: str, *, branch: str = 'student') -> None:
    """Loads a `MaskedViT` from a checkpoint: of pretraining, converted, or of mmpretrain's `VisionTransformer`."""
    weights = _read(path)
    if weights is not None:
        backbone_weights, other_weights = take_branch(weights, repr(path), branch)
        load_weights(
            backbone,
            {**other_weights, **backbone_weights},
            source=f'{path!r} ({branch})',
            allow_unused=True,
            advice='Set `model.backbone` as in pretraining.',
        )


def take_branch(
    weights: Mapping[str, Any], source: str, branch: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits weights into those of the backbone, without their prefix, and the rest."""
    for prefix in BRANCHES[branch]:
        names = [key for key in weights if key.startswith(prefix)]
        if names:
            branch_weights = {key.removeprefix(prefix): weights[key] for key in names}
            return branch_weights, {k: weights[k] for k in weights if not k.startswith(prefix)}
    prefix = BRANCHES[branch][0]
    if branch == 'teacher':
        raise CheckpointError(
            f'There is no EMA teacher in {source} (no key starts with {prefix!r}): it was pretrained without an '
            'EMATarget or a LatentPredictionLoss. Set `model.pretrained_branch=student`.'
        )
    if _PATCHES in weights:
        return dict(weights), {}
    raise CheckpointError(
        _why_unfit({}, weights)
        or f'There is no backbone in {source}: no key starts with {prefix!r}, and there is no {_PATCHES!r}. Its first '
        f'keys are: {name_some(list(weights))}. {_CONVERT}'
    )


def require_branch(branch: str) -> str:
    """Returns a name of `BRANCHES`, or raises an error that lists them."""
    if branch not in BRANCHES:
        raise ValueError(
            f"`pretrained_branch` must be one of {', '.join(BRANCHES)}, got '{branch}'."
        )
    return branch


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedInit:
    """Loads the weights of a checkpoint that fit, for `init_cfg=dict(type='Pretrained', checkpoint=...)`.

    Args:
        checkpoint: Path or URL. Code in the file is not run.
        prefix: Prefix of the keys that belong to the module. None loads all keys.
        map_location: Device to which tensors are read.
    """

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: Any = 'cpu'
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Loads the checkpoint into a module."""
        weights = _read(self.checkpoint, self.map_location)
        if weights is None:
            return
        if self.prefix:
            prefix = self.prefix.rstrip('.') + '.'
            weights = {k.removeprefix(prefix): weights[k] for k in weights if k.startswith(prefix)}
        load_weights(module, weights, source=repr(self.checkpoint), strict=False)


@contextmanager
def reading_nothing() -> Iterator[None]:
    """Skips loading pretrained weights, if a checkpoint is about to replace all of them."""
    token = _READS_NOTHING.set(True)
    try:
        yield
    finally:
        _READS_NOTHING.reset(token)


def _read(path: str, map_location: Any = 'cpu') -> dict[str, Any] | None:
    if _READS_NOTHING.get():
        return None
    return find_weights(load_checkpoint(path, map_location), repr(path))[0]


def _why_unfit(model_state: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    """Returns why weights don't fit, as a sentence; empty if the reason is unknown."""
    source = marked_format(weights)
    if source is None and (
        _OFFICIAL_PATCHES in weights or any(key.startswith('blocks.') for key in weights)
    ):
        source = 'vicmae-official' if 'projector.0.weight' in weights else 'mae'
    if source is not None:
        return (
            'The keys are those of an official checkpoint. Convert it first: python '
            f'tools/model_converters/convert.py --from {source} --to vicmae CHECKPOINT converted.pth '
            '(or `vicmae.apis.convert_checkpoint`).'
        )
    for key in model_state:
        if key.endswith(_PATCHES) and key in weights:
            prefix = key.removesuffix(_PATCHES)
            model_size, checkpoint_size = _measure(model_state, prefix), _measure(weights, prefix)
            different = [name for name in model_size if model_size[name] != checkpoint_size[name]]
            if different:
                has, needs = (
                    ', '.join(f'{name} {size[name]}' for name in different)
                    for size in (checkpoint_size, model_size)
                )
                return (
                    f'Its backbone has {has}, that of the config has {needs}. Set '
                    '`model.backbone.arch` and `model.backbone.patch_size` as in pretraining, or use another '
                    'checkpoint.'
                )
    return ''


def _measure(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Reads the size of a ViT from its weights: width, depth and pixels of a patch."""
    projection = weights[prefix + _PATCHES]
    stem = f'{prefix}layers.'
    layers = {int(k.removeprefix(stem).split('.')[0]) for k in weights if k.startswith(stem)}
    # Only in space: patch embeddings are fitted along time.
    patch = 'x'.join(str(side) for side in projection.shape[-2:])
    return dict(width=projection.shape[0], depth=max(layers, default=-1) + 1, patch=patch)
