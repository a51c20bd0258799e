# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The backbone of any checkpoint of this toolkit, of a converted one, or of mmpretrain's ViT."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from vicmae.checkpoints.read import read_weights
from vicmae.errors import CheckpointError

# Where the backbone lies in a checkpoint of pretraining.
BRANCHES = {'student': 'backbone.', 'teacher': 'target.backbone.'}
_PATCHES = 'patch_embed.projection.weight'
_OFFICIAL_PATCHES = 'patch_embed.proj.weight'
_MOST_NAMED = 4


def load_backbone(backbone: nn.Module, path: str, *, branch: str = 'student') -> int:
    """Loads a backbone's weights from a checkpoint, all that it has or none, and returns how many tensors these are.

    Position embeddings of another image size are resized, and image models inflated where the backbone takes clips.
    What the checkpoint has beside the backbone is left, and of its backbone what this one has no place for (a final
    norm that is off, a class token), which is told.

    Args:
        backbone: A `MaskedViT`.
        path: The checkpoint; no code in it is run.
        branch: One of `BRANCHES`.
    """
    found, notes = take_backbone(backbone, read_weights(path), repr(path), branch)
    backbone.load_state_dict(found)
    told = [f'The backbone takes {len(found)} tensors from {path!r} ({branch}).', *notes]
    print_log(' '.join(told), 'current')
    return len(found)


def take_backbone(
    backbone: nn.Module, weights: Mapping[str, Tensor], where: str, branch: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Of a checkpoint's weights all that a backbone has, fitted to it, and what there is to say of them.

    Args:
        backbone: A `MaskedViT`; it stays as it is.
        weights: Of the checkpoint.
        where: What messages call it.
        branch: One of `BRANCHES`.
    """
    found = find_backbone(weights, where, branch)
    own = backbone.state_dict()
    _require_same_shape(own, found, where)
    notes = []
    if found[_PATCHES].ndim < own[_PATCHES].ndim:
        notes.append('They are inflated along time.')
    if hasattr(backbone, 'fit_checkpoint'):
        backbone.fit_checkpoint(found, '')
    missing = [name for name in own if name not in found]
    reshaped = [name for name in own if name in found and not _fits(name, found[name], own)]
    if missing or reshaped:
        raise CheckpointError(
            f'The backbone in {where} is not that of the config: '
            + '; '.join(
                f'{_name_some(names)} {what}'
                for names, what in [(missing, 'missing'), (reshaped, 'of another shape')]
                if names
            )
            + '. Set `model.backbone` as it was pretrained.'
        )
    unused = [name for name in found if name not in own]
    if unused:
        notes.append(f'It has no place for {_name_some(unused)}.')
    return {name: found[name] for name in own}, notes


def require_branch(branch: str) -> str:
    """A name of `BRANCHES`, or an error that lists them."""
    if branch not in BRANCHES:
        raise ValueError(
            f"`pretrained_branch` must be one of {', '.join(BRANCHES)}, got '{branch}'."
        )
    return branch


def find_backbone(weights: Mapping[str, Tensor], where: str, branch: str) -> dict[str, Tensor]:
    """The weights of the backbone under the names that it has itself.

    Args:
        weights: Of a checkpoint.
        where: What messages call it.
        branch: One of `BRANCHES`.
    """
    prefix = BRANCHES[branch]
    found = {k.removeprefix(prefix): weights[k] for k in weights if k.startswith(prefix)}
    if found:
        return found
    if branch == 'teacher':
        raise CheckpointError(
            f'There is no averaged teacher in {where} (no key begins with {prefix!r}): it was pretrained without an '
            'EMATarget. Set `model.pretrained_branch=student`.'
        )
    if _PATCHES in weights:
        return dict(weights)
    if _OFFICIAL_PATCHES in weights:
        source = 'vicmae-official' if 'projector.0.weight' in weights else 'mae'
        raise CheckpointError(
            f'The names in {where} are those of an official checkpoint. Convert it first: python '
            f'tools/model_converters/convert.py --from {source} --to vicmae CHECKPOINT converted.pth'
        )
    raise CheckpointError(
        f'There is no backbone in {where}: no key begins with {prefix!r}, nor is {_PATCHES!r} there. Its first '
        f'keys are: {_name_some(list(weights))}.'
    )


def measure(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What size a ViT is of, by its weights: width, depth, and pixels of a patch's sides."""
    size: dict[str, Any] = {}
    if _PATCHES in weights:
        projection = weights[_PATCHES]
        size['width'] = projection.shape[0]
        # In space: along time, patches are fitted.
        size['patch'] = 'x'.join(str(side) for side in projection.shape[-2:])
    numbers = [int(name.split('.')[1]) for name in weights if name.startswith('layers.')]
    size['depth'] = max(numbers, default=-1) + 1
    return size


def _require_same_shape(
    own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], where: str
) -> None:
    """Refuses another width, depth or patch by name, before it is a list of hundreds of keys."""
    wanted, found = measure(own), measure(theirs)
    other = [name for name in wanted if wanted[name] != found.get(name)]
    if other:
        raise CheckpointError(
            f'The backbone in {where} has {_say(found, other)}, that of the config {_say(wanted, other)}. Set '
            '`model.backbone.arch` and `model.backbone.patch_size` as it was pretrained, or take another checkpoint.'
        )


def _say(size: Mapping[str, Any], names: list[str]) -> str:
    return ', '.join(f'{name} {size.get(name, "unknown")}' for name in names)


def _fits(name: str, loaded: Tensor, own: Mapping[str, Tensor]) -> bool:
    if name == 'pos_embed' and loaded.ndim == 3:  # of another grid, it is resized on loading
        return loaded.shape[::2] == own[name].shape[::2]
    return loaded.shape == own[name].shape


def _name_some(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ', '.join(names[:_MOST_NAMED]) + (f' and {rest} more' if rest > 0 else '')
