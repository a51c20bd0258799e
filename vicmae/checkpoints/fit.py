# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`load_weights`, the one way by which weights enter a model.

`load_from` and `--resume` (the Runner), `model.pretrained` (`load_backbone`), `init_cfg` (`PretrainedInit`) and
`vicmae.apis.load_model` all end here, and report in the same words what became of each key.
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

from .read import find_weights, load_checkpoint
from .state import put_weights

# Where the backbone lies in a checkpoint of pretraining.
BRANCHES = {'student': 'backbone.', 'teacher': 'target.backbone.'}
_PATCHES = 'patch_embed.projection.weight'
_OFFICIAL_PATCHES = 'patch_embed.proj.weight'
_MOST_NAMED = 6
_READS_NOTHING: ContextVar[bool] = ContextVar('reads_nothing', default=False)


class FitReport(NamedTuple):
    """What became of each key of a checkpoint, and of each weight of a model.

    Attributes:
        source: What messages call the checkpoint.
        mapped: Weights that both have.
        resized: Those of `mapped` that were fitted to the model's size, such as positions.
        reshaped: Weights of another shape, with both shapes; they are not loaded.
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
        """One line each for keys that are missing, unknown or of another shape."""
        groups = {
            'missing from the checkpoint': self.missing,
            'unknown to the model': self.unused,
            'of another shape': self.reshaped,
        }
        return [
            f'  {len(keys)} {what}: {name_some(keys, _MOST_NAMED)}'
            for what, keys in groups.items()
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
            f'{len(keys)} {what}' + (f' ({name_some(keys)})' if keys else '')
            for what, keys in groups.items()
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
    """Loads weights into a model, sharded or not, and reports what became of each key.

    Modules with a `fit_checkpoint(weights, prefix)` first fit weights of another size: positions of another grid,
    images for clips, a teacher where there was none. After an error, the model is unchanged.

    Args:
        model: The model, in its wrapper if it has one. All processes of a sharded one have to call this.
        weights: Whole weights by name.
        source: What messages call them.
        strict: Whether to refuse weights that don't fit, or to load what fits.
        allow_unused: Whether unused keys are accepted, such as the heads beside a backbone.
        advice: What to do where weights don't fit.
    """
    model = unwrapped(model)
    allow_unused = allow_unused or getattr(model, 'takes_backbone_alone', False)
    with warnings.catch_warnings(record=True) as caught:  # of resizing: only if it is loaded
        warnings.simplefilter('always')
        fitted, report = fit_weights(model, weights, source=source)
    complete = not (report.missing or report.reshaped)
    if not report.mapped or (strict and not (complete and (allow_unused or not report.unused))):
        raise CheckpointError(
            f'{source} does not fit the model: {len(report.mapped)} of {len(model.state_dict())} weights do.\n'
            + '\n'.join((report._replace(unused=[]) if allow_unused else report).misfits())
            + f'\n{_why_unfit(model.state_dict(), fitted) or advice}'
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
    own = model.state_dict()
    shared = [key for key in own if key in fitted]
    mapped = [key for key in shared if getattr(fitted[key], 'shape', None) == own[key].shape]
    return fitted, FitReport(
        source=source,
        mapped=mapped,
        resized=[key for key in mapped if key in resized],
        reshaped=[
            f'{key} {tuple(getattr(fitted[key], "shape", ()))} instead of {tuple(own[key].shape)}'
            for key in shared
            if key not in mapped
        ],
        unused=[key for key in fitted if key not in own],
        missing=[key for key in own if key not in fitted],
    )


def load_backbone(backbone: nn.Module, path: str, *, branch: str = 'student') -> None:
    """Loads a `MaskedViT` from a checkpoint: of pretraining here, a converted one, or mmpretrain's ViT."""
    weights = _read(path)
    if weights is not None:
        found, rest = take_branch(weights, repr(path), branch)
        load_weights(
            backbone,
            {**rest, **found},
            source=f'{path!r} ({branch})',
            allow_unused=True,
            advice='Set `model.backbone` as it was pretrained.',
        )


def take_branch(
    weights: Mapping[str, Any], where: str, branch: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits weights into those of the backbone, without their prefix, and the rest."""
    prefix = BRANCHES[branch]
    found = {k.removeprefix(prefix): weights[k] for k in weights if k.startswith(prefix)}
    if found:
        return found, {k: weights[k] for k in weights if not k.startswith(prefix)}
    if branch == 'teacher':
        raise CheckpointError(
            f'There is no EMA teacher in {where} (no key begins with {prefix!r}): it was pretrained without an '
            'EMATarget. Set `model.pretrained_branch=student`.'
        )
    if _PATCHES in weights:
        return dict(weights), {}
    raise CheckpointError(
        _why_unfit({}, weights)
        or f'There is no backbone in {where}: no key begins with {prefix!r}, nor is {_PATCHES!r} there. Its first '
        f'keys are: {name_some(list(weights))}.'
    )


def require_branch(branch: str) -> str:
    """A name of `BRANCHES`, or an error that lists them."""
    if branch not in BRANCHES:
        raise ValueError(
            f"`pretrained_branch` must be one of {', '.join(BRANCHES)}, got '{branch}'."
        )
    return branch


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class PretrainedInit:
    """Loads what fits of a checkpoint, for `init_cfg=dict(type='Pretrained', checkpoint=...)` of any module here.

    Args:
        checkpoint: Path or URL; no code in it is run.
        prefix: Prefix of the names that belong to the module; None for all names.
        map_location: Device that tensors are read to.
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
    """Skips reading pretrained weights, where a checkpoint is about to replace all of them."""
    token = _READS_NOTHING.set(True)
    try:
        yield
    finally:
        _READS_NOTHING.reset(token)


def _read(path: str, map_location: Any = 'cpu') -> dict[str, Any] | None:
    if _READS_NOTHING.get():
        return None
    return find_weights(load_checkpoint(path, map_location), repr(path))[0]


def _why_unfit(own: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    """The reason in a sentence; empty if it is unknown."""
    if _OFFICIAL_PATCHES in weights or any(key.startswith('blocks.') for key in weights):
        source = 'vicmae-official' if 'projector.0.weight' in weights else 'mae'
        return (
            'The names are those of an official checkpoint. Convert it first: python '
            f'tools/model_converters/convert.py --from {source} --to vicmae CHECKPOINT converted.pth'
        )
    for key in own:
        if key.endswith(_PATCHES) and key in weights:
            prefix = key.removesuffix(_PATCHES)
            wanted, found = _measure(own, prefix), _measure(weights, prefix)
            other = [name for name in wanted if wanted[name] != found[name]]
            if other:
                has, needs = (
                    ', '.join(f'{name} {size[name]}' for name in other) for size in (found, wanted)
                )
                return (
                    f'Its backbone has {has}, that of the config {needs}. Set '
                    '`model.backbone.arch` and `model.backbone.patch_size` as it was pretrained, or take another '
                    'checkpoint.'
                )
    return ''


def _measure(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Size of a ViT by its weights: width, depth, and pixels of a patch's sides."""
    projection = weights[prefix + _PATCHES]
    stem = f'{prefix}layers.'
    layers = {int(k.removeprefix(stem).split('.')[0]) for k in weights if k.startswith(stem)}
    # Of patches in space: along time, they are fitted.
    patch = 'x'.join(str(side) for side in projection.shape[-2:])
    return dict(width=projection.shape[0], depth=max(layers, default=-1) + 1, patch=patch)
