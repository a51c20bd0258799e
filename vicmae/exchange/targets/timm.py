# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""timm, https://github.com/huggingface/pytorch-image-models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vicmae.checkpoints.convert import mae

from ..encoder import Encoder
from .base import (
    WEIGHTS,
    Opened,
    Placed,
    Target,
    place_by_table,
    save_json,
    save_tensors,
    why_not_plain,
)

# Any of timm's plain ViTs: its sizes are overwritten.
_ARCHITECTURE = 'vit_base_patch16_224'


class Timm(Target):
    """A folder for `timm.create_model('local-dir:DIR')`."""

    name: ClassVar[str] = 'timm'
    packages: ClassVar[tuple[str, ...]] = ('timm',)
    usage: ClassVar[str] = """\
import timm
import torch

model = timm.create_model('local-dir:{out}', pretrained=True).eval()
images = torch.zeros(1, {channels}, {height}, {width})  # normalised by `model.pretrained_cfg`
features = model(images)  # (1, {dims})
"""

    def why_not(self, encoder: Encoder) -> str:
        if encoder.pooling is None:
            pooling = type(encoder.model.aggregator).__name__
            return f'it pools by {pooling}, which timm does not have'
        return why_not_plain(encoder)

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        encoder_only = mae.TABLE._replace(modules=dict(encoder=mae.TABLE.modules['encoder']))
        return place_by_table(encoder_only, encoder)

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        save_tensors(tensors, out / WEIGHTS)
        backbone, (height, width) = encoder.backbone, encoder.sides
        config = dict(
            architecture=_ARCHITECTURE,
            num_classes=0,
            num_features=backbone.embed_dims,
            global_pool=encoder.pooling,
            model_args=timm_arguments(encoder),
            pretrained_cfg=dict(
                tag='vicmae',
                num_classes=0,
                input_size=[backbone.in_channels, height, width],
                pool_size=None,
                interpolation='bicubic',
                crop_pct=1.0,
                crop_mode='center',
                mean=encoder.mean,
                std=encoder.std,
                first_conv='patch_embed.proj',
                classifier='head',
            ),
        )
        save_json(config, out / 'config.json')

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        import timm

        model = timm.create_model(f'local-dir:{out}', pretrained=True).eval()
        with torch.no_grad():
            return Opened(torch.no_grad()(model), dict(model.state_dict()))


def timm_arguments(encoder: Encoder) -> dict[str, Any]:
    """Returns the arguments of timm's `VisionTransformer` that make it this encoder."""
    backbone = encoder.backbone
    return dict(
        img_size=list(encoder.sides),
        patch_size=backbone.patch_size[-1],
        in_chans=backbone.in_channels,
        embed_dim=backbone.embed_dims,
        depth=encoder.depth,
        num_heads=encoder.num_heads,
        mlp_ratio=encoder.hidden_width / backbone.embed_dims,
        class_token=backbone.cls_token is not None,
        global_pool=encoder.pooling,
        fc_norm=False,  # tokens are normalised, then pooled
    )
