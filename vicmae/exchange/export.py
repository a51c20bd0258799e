# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes an encoder for another library, with what is needed to verify it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from vicmae.checkpoints.read import hash_of
from vicmae.errors import CheckpointError, ConfigError
from vicmae.utils.files import require_folder, why_unwritten
from vicmae.utils.names import name_some
from vicmae.version import __version__

from .card import read_figures, write_card
from .encoder import Encoder
from .targets import TARGETS, Placed, Target
from .targets.base import save_json, save_tensors
from .targets.timm import timm_arguments

MANIFEST, EXAMPLES = 'export.json', 'examples.safetensors'
DTYPES = dict(float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)


def export_model(
    model: Any,
    cfg: Config,
    target: str,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    dtype: str = 'float32',
    licence: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Writes the encoder of a model to a folder, for another library.

    Besides the library's own files there are a model card (README.md), the features of three fixed inputs
    (examples.safetensors), and a list of all tensors with their hashes (export.json), with which `verify_export` checks
    what the library makes of it. The folder appears whole or not at all.

    Args:
        model: From `load_model`.
        cfg: The config of the model.
        target: One of `TARGETS`.
        out: Folder to write.
        checkpoint: File of the weights, for the card.
        dtype: float32, float16 or bfloat16, of the stored tensors.
        licence: Licence of the weights, for the card.
        force: Whether a folder of that name is replaced.

    Returns:
        The content of export.json.
    """
    if target not in TARGETS:
        raise ConfigError(f'Unknown target {target!r}. Use one of: {", ".join(TARGETS)}.')
    if dtype not in DTYPES:
        raise ConfigError(f'`dtype` must be one of {", ".join(DTYPES)}, got {dtype!r}.')
    to, out = TARGETS[target], Path(out)
    encoder = Encoder(model.eval(), cfg.model)
    if why := to.why_not(encoder):
        raise ConfigError(f"Can't export this encoder to {target}: {why}.")
    if to.writes_with_them:
        to.require_packages()
    placed = to.tensors(encoder)
    if dtype != 'float32' and not placed:
        raise ConfigError(f'{target} stores a graph in float32, got `dtype` {dtype!r}.')
    _require_all(encoder, to, placed)
    _require_free(out, force)
    tensors = {name: _cast(place.tensor, DTYPES[dtype]) for name, place in placed.items()}
    pixels = encoder.examples()
    manifest = dict(
        target=target,
        vicmae_version=__version__,
        torch_version=torch.__version__,
        dtype=dtype,
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        sha256=None if checkpoint is None else hash_of(checkpoint),
        figures={} if checkpoint is None else read_figures(checkpoint),
        mean=encoder.mean,
        std=encoder.std,
        timm=timm_arguments(encoder),
        tensors={
            name: dict(sources=list(placed[name].sources), sha256=hash_tensor(tensor))
            for name, tensor in tensors.items()
        },
        omitted=to.omitted(encoder),
    )
    unfinished = out.with_name(f'{out.name}.unfinished')
    require_folder(out.absolute().parent, '--out')
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        to.write(encoder, tensors, unfinished)
        features = encoder.encode(encoder.normalize(pixels))
        save_tensors(dict(pixels=pixels, features=features), unfinished / EXAMPLES)
        save_json(manifest, unfinished / MANIFEST)
        card = write_card(encoder, cfg, to, manifest, out, licence)
        (unfinished / 'README.md').write_text(card, encoding='utf-8')
        shutil.rmtree(out, ignore_errors=True)
        unfinished.replace(out)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Can't write {str(out)!r}: {why_unwritten(error)}. Free some space, or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(unfinished)
    return manifest


def hash_tensor(tensor: Tensor) -> str:
    """Computes the SHA-256 of a tensor's type, shape and values."""
    told = f'{tensor.dtype} {tuple(tensor.shape)} '.encode()
    values = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(told + values.tobytes()).hexdigest()


def read_manifest(out: Path) -> dict[str, Any]:
    """Reads export.json of an exported folder."""
    path = out / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
        TARGETS[manifest['target']]
    except FileNotFoundError as error:
        raise CheckpointError(
            f'{str(out)!r} is no export: it has no {MANIFEST}. Give the folder that `vicmae export --out` wrote.'
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"Can't read {str(path)!r} ({type(error).__name__}: {error}). Export the checkpoint again."
        ) from error
    return manifest


def _require_all(encoder: Encoder, target: Target, placed: Mapping[str, Placed]) -> None:
    """Refuses an encoder with tensors for which the target has no place."""
    if not placed:
        return
    found = {source for place in placed.values() for source in place.sources}
    known = found | set(target.omitted(encoder))
    needed = [k for k in encoder.weights if k.startswith(('backbone.', 'aggregator.'))]
    lost = [name for name in needed if name not in known]
    if lost:
        raise ConfigError(
            f"Can't export this encoder to {target.name}, which has no place for {name_some(lost)}. "
            'Export it to onnx, torch-export or safetensors.'
        )


def _require_free(out: Path, force: bool) -> None:
    if out.is_file():
        raise ConfigError(f'`--out` {str(out)!r} is a file. Name a folder.')
    if out.is_dir() and any(out.iterdir()):
        if not force:
            raise ConfigError(
                f'`--out` {str(out)!r} is not empty. Choose another folder, or replace it with --force.'
            )
        if not (out / MANIFEST).exists():
            raise ConfigError(
                f'`--out` {str(out)!r} has other files than an export. Choose another folder.'
            )


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
