# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Counts what a training sample costs. B batch, C channels, T H W frames and pixels."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from vicmae.config.load import load_config
from vicmae.datasets.transforms.build import Pipeline
from vicmae.registry import DATASETS, MODELS

_SIDE, _SECONDS, _FPS = 256, 4, 25  # of the blank files


class Flops(NamedTuple):
    """Floating-point operations of one training sample. A multiplication and an addition count as two."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Operations of both passes."""
        return self.forward + self.backward


def count_flops(config: str | Path | Config) -> dict[str, Flops]:
    """Counts the FLOPs of training on one sample of each source of a config.

    Counted are matrix products, attention and convolutions of all views of the sample, with the decoder, the heads and
    a teacher. The data of the config is not read, and the model takes no memory: a blank image or video goes through
    the pipeline, and only its shape reaches the model.

    Args:
        config: Path or name of a config, or a loaded one.

    Examples:
        >>> cost = count_flops('mae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400')['images']
        >>> print(f'{cost.forward / 1e9:.0f} GFLOPs forward, {cost.backward / 1e9:.0f} backward')
        19 GFLOPs forward, 39 backward
    """
    cfg = config if isinstance(config, Config) else load_config(config)
    batch_size = cfg.train_dataloader.batch_size
    with torch.device('meta'):
        model = MODELS.build(cfg.model).train()
    counted: dict[Any, Flops] = {}  # by shape
    costs = {}
    for name, sample in _blank_samples(cfg).items():
        key = repr(_shapes(sample['inputs']))
        if key not in counted:
            counted[key] = _count_sample(model, sample, batch_size)
        costs[name] = counted[key]
    return costs


def _count_sample(model: Any, sample: Mapping[str, Any], batch_size: int) -> Flops:
    """Counts a batch without memory, and divides by its size."""
    shapes, label = _shapes(sample['inputs']), sample.get('data_samples')
    items: dict[str, Any] = {}
    with torch.device('meta'), FlopCounterMode(display=False) as counter:
        if label is None:
            batch: tuple[Any, ...] = ([torch.empty(batch_size, *shape) for shape in shapes],)
            if 'times' in sample:
                items['times'] = [torch.zeros(batch_size) for _ in shapes]
        else:
            head = model.heads[label.head] if hasattr(model, 'heads') else model.head
            label.set_gt_score(torch.empty(head.num_classes))  # as mixup makes them
            batch = torch.empty(batch_size, *shapes), [label] * batch_size
        loss, _ = model.parse_losses(model.loss(*batch, **items))
        forward = counter.get_total_flops()
        loss.backward()
    backward = counter.get_total_flops() - forward
    return Flops(forward / batch_size, backward / batch_size)


def _shapes(inputs: Any) -> Any:
    """Returns the shape of each view, or of a labelled image or clip."""
    return [view.shape for view in inputs] if isinstance(inputs, list) else inputs.shape


def _blank_samples(cfg: Config) -> dict[str, dict[str, Any]]:
    """Runs a blank file through the pipeline of each source of the training data."""
    samples = {}
    with tempfile.TemporaryDirectory() as folder:
        files = dict(image=f'{folder}/blank.png', video=f'{folder}/blank.mp4')
        cv2.imwrite(files['image'], np.zeros((_SIDE, _SIDE, 3), np.uint8))
        _write_blank_video(files['video'])
        for name, source in _sources(cfg):
            kind = DATASETS.get(source['type']).kind
            origin = dict(path=files[kind], kind=kind, source=name, head=name, gt_label=0)
            blank = {**origin, **(source.get('tags') or {}), 'rng': np.random.default_rng(0)}
            samples[name] = Pipeline(source['pipeline'])(blank)
    return samples


def _sources(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the sources of the training data, by name."""
    dataset = cfg.train_dataloader.dataset
    sources = dataset.get('sources') or dict(samples=dataset)
    return ((name, source) for name, source in sources.items() if source is not None)


def _write_blank_video(path: str) -> None:
    # Training from shards imports `vicmae.apis`, but no PyAV.
    import av

    with av.open(path, 'w') as container:
        stream: Any = container.add_stream('mpeg4', rate=_FPS)
        stream.width, stream.height, stream.pix_fmt = _SIDE, _SIDE, 'yuv420p'
        frame = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        for _ in range(_SECONDS * _FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
