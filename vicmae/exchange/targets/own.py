# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files for vicmae itself, and for the official code of ViC-MAE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from torch import Tensor

from vicmae.apis import load_model
from vicmae.checkpoints.convert import official
from vicmae.checkpoints.read import read_weights
from vicmae.checkpoints.write import write_checkpoint

from ..encoder import Encoder
from .base import (
    WEIGHTS,
    Opened,
    Placed,
    Target,
    place_by_table,
    save_tensors,
    why_not_mean,
    why_not_plain,
)

_CONFIG, _CHECKPOINT = 'config.py', 'model.pth'


class Safetensors(Target):
    """All weights under vicmae's names, with the config of the model."""

    name: ClassVar[str] = 'safetensors'
    packages: ClassVar[tuple[str, ...]] = ('safetensors',)
    usage: ClassVar[str] = """\
from vicmae.apis import encode_files, load_model

model = load_model('{out}/config.py', '{out}/model.safetensors')
features = encode_files(model, 'photos/')  # (number of files, {dims})
"""

    def why_not(self, encoder: Encoder) -> str:
        return ''

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        return {k: Placed(v, (k,)) for k, v in encoder.weights.items()}

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        save_tensors(tensors, out / WEIGHTS)
        Config(dict(model=dict(encoder.config))).dump(str(out / _CONFIG))

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        model = load_model(out / _CONFIG, out / WEIGHTS)
        return Opened(torch.no_grad()(model.extract_feat), dict(model.state_dict()))


class Official(Target):
    """A checkpoint for the official code of ViC-MAE, opened here by its encoder in timm, under the same names."""

    name: ClassVar[str] = 'vicmae-official'
    packages: ClassVar[tuple[str, ...]] = ('timm',)
    usage: ClassVar[str] = """\
import torch

weights = torch.load('{out}/model.pth', weights_only=True)['model']  # for the official code's model
"""

    def why_not(self, encoder: Encoder) -> str:
        if encoder.backbone.cls_token is None:
            return 'it has no class token, which the official code always has'
        return why_not_mean(encoder) or why_not_plain(encoder)

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        return place_by_table(official.TABLE, encoder)

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        write_checkpoint(out / _CHECKPOINT, dict(model=dict(tensors)))

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        from timm.models.vision_transformer import VisionTransformer

        weights = read_weights(out / _CHECKPOINT)
        encoder = VisionTransformer(**manifest['timm'], num_classes=0).eval()
        encoder.load_state_dict(weights, strict=False)
        decoder = {k: v for k, v in weights.items() if k not in encoder.state_dict()}
        held = {**encoder.state_dict(), **decoder}
        return Opened(torch.no_grad()(encoder), held)
