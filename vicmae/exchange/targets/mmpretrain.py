# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""mmpretrain, https://github.com/open-mmlab/mmpretrain, and what builds on it: mmdetection, mmsegmentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from torch import Tensor

from vicmae.checkpoints.read import read_weights
from vicmae.checkpoints.write import write_checkpoint

from ..encoder import Encoder
from .base import Opened, Placed, Target, why_not_mean, why_not_plain

_CHECKPOINT, _CONFIG = 'model.pth', 'config.py'


class MMPretrain(Target):
    """A config and a checkpoint of mmpretrain's `VisionTransformer`."""

    name: ClassVar[str] = 'mmpretrain'
    packages: ClassVar[tuple[str, ...]] = ('mmpretrain',)
    usage: ClassVar[str] = """\
import torch
from mmengine.config import Config
from mmpretrain import get_model

model = get_model(Config.fromfile('{out}/config.py'), pretrained='{out}/model.pth').eval()
images = torch.zeros(1, {channels}, {height}, {width})  # normalised by `data_preprocessor` of the config
(tokens,) = model.extract_feat(images)
features = tokens[:, {prefix}:].mean(dim=1)  # (1, {dims})
"""

    def why_not(self, encoder: Encoder) -> str:
        return why_not_mean(encoder) or why_not_plain(encoder)

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        weights = encoder.weights.items()
        return {k: Placed(v, (k,)) for k, v in weights if k.startswith('backbone.')}

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        backbone = encoder.backbone
        config = Config(
            dict(
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(
                        type='VisionTransformer',
                        arch=dict(
                            embed_dims=backbone.embed_dims,
                            num_layers=encoder.depth,
                            num_heads=encoder.num_heads,
                            feedforward_channels=encoder.hidden_width,
                        ),
                        img_size=encoder.sides,
                        patch_size=backbone.patch_size[-1],
                        in_channels=backbone.in_channels,
                        with_cls_token=backbone.cls_token is not None,
                        out_type='raw',
                    ),
                    neck=None,
                    head=None,
                ),
                data_preprocessor=dict(
                    mean=encoder.model.data_preprocessor.mean.flatten().tolist(),
                    std=encoder.model.data_preprocessor.std.flatten().tolist(),
                    to_rgb=True,
                ),
            )
        )
        config.dump(str(out / _CONFIG))
        write_checkpoint(out / _CHECKPOINT, dict(state_dict=dict(tensors)))

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        from mmpretrain.models import VisionTransformer

        settings = Config.fromfile(str(out / _CONFIG)).model.backbone
        settings.pop('type')
        model = VisionTransformer(**settings)
        model.eval()  # which returns None
        prefix = 'backbone.'
        weights = read_weights(out / _CHECKPOINT)
        model.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items()}, strict=False)
        num_extra = model.num_extra_tokens

        @torch.no_grad()
        def encode(images: Tensor) -> Tensor:
            return model(images)[-1][:, num_extra:].mean(dim=1)

        return Opened(encode, {prefix + k: v for k, v in model.state_dict().items()})
