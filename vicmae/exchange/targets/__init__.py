# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .base import Opened, Placed, Target
from .graph import Onnx, TorchExport
from .hugging_face import HuggingFaceVideoMAE, HuggingFaceViT, HuggingFaceViTMAE
from .mmpretrain import MMPretrain
from .own import Official, Safetensors
from .timm import Timm

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Timm(),
        HuggingFaceViT(),
        HuggingFaceViTMAE(),
        HuggingFaceVideoMAE(),
        MMPretrain(),
        Onnx(),
        TorchExport(),
        Safetensors(),
        Official(),
    )
}

__all__ = ['TARGETS', 'Opened', 'Placed', 'Target']
