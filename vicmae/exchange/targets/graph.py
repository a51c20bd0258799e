# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Formats that store a graph of the whole encoder, with its pooling, and not only its tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..encoder import Encoder, Features
from .base import Opened, Placed, Target


class Graph(Target):
    """A graph of the whole encoder, with its pooling."""

    file: ClassVar[str]

    def why_not(self, encoder: Encoder) -> str:
        return ''

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        return {}

    def example(self, encoder: Encoder) -> Tensor:
        """Returns normalised pixels of two samples, since a batch of one would become a constant."""
        return encoder.normalize(encoder.examples())[:2]

    def module(self, encoder: Encoder) -> Features:
        """Returns the module whose graph is stored."""
        return Features(encoder.model).eval()


class Onnx(Graph):
    """An ONNX file for batches of any size."""

    name: ClassVar[str] = 'onnx'
    packages: ClassVar[tuple[str, ...]] = ('onnx', 'onnxruntime', 'onnxscript')
    writes_with_them: ClassVar[bool] = True
    file: ClassVar[str] = 'model.onnx'
    usage: ClassVar[str] = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession('{out}/model.onnx')
pixels = np.zeros({shape}, np.float32)  # normalised, see export.json
(features,) = session.run(None, {{'pixels': pixels}})  # (1, {dims})
"""

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        torch.onnx.export(
            self.module(encoder),
            (self.example(encoder),),
            str(out / self.file),
            input_names=['pixels'],
            output_names=['features'],
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            str(out / self.file), providers=['CPUExecutionProvider']
        )

        def encode(inputs: Tensor) -> Tensor:
            (features,) = session.run(None, {'pixels': inputs.numpy()})
            return torch.from_numpy(features)

        return Opened(encode, None)


class TorchExport(Graph):
    """A program of `torch.export` for batches of any size."""

    name: ClassVar[str] = 'torch-export'
    packages: ClassVar[tuple[str, ...]] = ('torch',)
    file: ClassVar[str] = 'model.pt2'
    usage: ClassVar[str] = """\
import torch

model = torch.export.load('{out}/model.pt2').module()
features = model(torch.zeros({shape}))  # (1, {dims}); pixels are normalised, see export.json
"""

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        batch = torch.export.Dim('batch', min=1, max=65536)
        program = torch.export.export(
            self.module(encoder), (self.example(encoder),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, out / self.file)

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        module = torch.export.load(out / self.file).module()
        return Opened(torch.no_grad()(module), None)
