# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Compares an exported encoder, as the library it is for opens it, with what was exported."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vicmae.checkpoints.read import load_checkpoint_file
from vicmae.errors import CheckpointError

from .encoder import normalize
from .export import DTYPES, EXAMPLES, hash_tensor, read_manifest
from .targets import TARGETS, Opened

# Largest difference of features, relative to the largest feature.
TOLERANCES = dict(float32=1e-5, float16=1e-3, bfloat16=1e-2)


class Finding(NamedTuple):
    """What was found about an export.

    Attributes:
        ok: Whether it is as it should be.
        text: One line.
    """

    ok: bool
    text: str


def verify_export(out: str | Path) -> list[Finding]:
    """Opens an export with the library it is for, and compares tensors and features with what was exported.

    A tensor that the library dropped, set to zero or left at its initial values is a finding, and so are features that
    differ by more than 1e-5 of the largest (1e-3 in float16).
    """
    out = Path(out)
    manifest = read_manifest(out)
    target = TARGETS[manifest['target']]
    target.require_packages()
    examples = load_checkpoint_file(out / EXAMPLES)['state_dict']
    try:
        opened = target.open(out, manifest)
    except Exception as error:
        raise CheckpointError(
            f'{target.packages[0]} cannot open {str(out)!r}: {type(error).__name__}: {error}'
        ) from error
    return [*_compare_tensors(opened, manifest), *_compare_features(opened, manifest, examples)]


def _compare_tensors(opened: Opened, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    if opened.weights is None:
        yield Finding(True, 'a graph: tensors are compared by the features alone')
        return
    dtype = DTYPES[manifest['dtype']]
    held = {
        name: hash_tensor(value.to(dtype) if value.is_floating_point() else value)
        for name, value in opened.weights.items()
    }
    written = {name: entry['sha256'] for name, entry in manifest['tensors'].items()}
    lost = [name for name, digest in written.items() if digest not in held.values()]
    alien = [name for name, digest in held.items() if digest not in written.values()]
    for name in lost:
        yield Finding(False, f'{name} was exported, but the library does not have it')
    for name in alien:
        values: Tensor = opened.weights[name]
        what = 'is zero' if not values.any() else 'has its initial values'
        yield Finding(False, f'{name} {what}: the library has not loaded it')
    if not lost and not alien:
        yield Finding(True, f'{len(written)} tensors are those that were exported')
    for name, reason in manifest['omitted'].items():
        yield Finding(True, f'{name} is left out: {reason}')


def _compare_features(
    opened: Opened, manifest: Mapping[str, Any], examples: Mapping[str, Tensor]
) -> Iterator[Finding]:
    pixels = normalize(examples['pixels'], manifest['mean'], manifest['std'])
    expected = examples['features']
    tolerance = TOLERANCES[manifest['dtype']]
    for size in (1, len(pixels)):
        features = torch.cat([opened.encode(part).float() for part in pixels.split(size)])
        if features.shape != expected.shape:
            yield Finding(
                False, f'features are {tuple(features.shape)}, not {tuple(expected.shape)}'
            )
            continue
        error = ((features - expected).abs().max() / expected.abs().max()).item()
        text = f'features in batches of {size} differ by {error:.1e} of the largest'
        yield Finding(error <= tolerance, f'{text} (at most {tolerance:g})')
