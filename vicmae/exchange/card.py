# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Model card of an export."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .encoder import Encoder
from .targets import Target

_ACCURACY = re.compile('top1|top5|accuracy|mAP|chance')
_NO_LICENCE = 'Not stated. Ask those who trained these weights.'


def write_card(
    encoder: Encoder,
    cfg: Config,
    target: Target,
    manifest: Mapping[str, Any],
    out: Path,
    licence: str | None = None,
) -> str:
    """Returns a model card in Markdown: how to open the files, how they were trained, and their licence."""
    backbone, (height, width) = encoder.backbone, encoder.sides
    inputs = [1, backbone.in_channels, height, width]
    if backbone.takes_clips:
        inputs.insert(2, backbone.num_frames)
    usage = target.usage.format(
        out=out,
        channels=backbone.in_channels,
        frames=backbone.num_frames,
        height=height,
        width=width,
        dims=backbone.embed_dims,
        prefix=backbone.num_extra_tokens,
        shape=tuple(inputs),
    )
    kind = f'clips of {backbone.num_frames} frames' if backbone.takes_clips else 'images'
    lines = [
        f'# {type(encoder.model).__name__} encoder for {target.name}',
        f'A vision transformer of {encoder.depth} layers of {backbone.embed_dims} that encodes {kind} of {height} x '
        f'{width} pixels, exported by vicmae {manifest["vicmae_version"]}.',
        f'```python\n{usage}```',
        f'Pixels between 0 and 1 are normalised by mean {encoder.mean} and standard deviation {encoder.std}. '
        f'`vicmae verify-export {out}` compares this folder with what was exported.',
        '## Training',
        '\n'.join(f'- {line}' for line in _training(cfg, manifest)),
        '## Licence',
        licence or _NO_LICENCE,
    ]
    return '\n\n'.join(lines) + '\n'


def _training(cfg: Config, manifest: Mapping[str, Any]) -> list[str]:
    lines = [f'Config: {Path(cfg.filename).name}' if cfg.filename else 'Config: not known']
    if manifest['checkpoint']:
        lines.append(f'Checkpoint: {manifest["checkpoint"]}, SHA-256 {manifest["sha256"]}')
    lines.append(f'Data: {", ".join(_sources(cfg)) or "not known"}')
    figures = manifest['figures']
    text = ', '.join(f'{name} {value:.1f}' for name, value in figures.items())
    lines.append(f'Figures: {text or "none were logged with this checkpoint"}')
    return lines


def read_figures(checkpoint: str | Path) -> dict[str, float]:
    """Reads the accuracies that the run of a checkpoint has logged at its step: `images/knn_top1`."""
    path = Path(checkpoint)
    number = re.search(r'(\d+)$', path.stem)
    figures: dict[str, float] = {}
    for log in sorted(path.parent.glob('*/vis_data/scalars.json')):
        for row in map(json.loads, log.read_text(encoding='utf-8').splitlines()):
            # Rows of training have the iteration, those of evaluations do not.
            if number and 'iter' not in row and row.get('step') == int(number[1]):
                figures |= {name: value for name, value in row.items() if _ACCURACY.search(name)}
    return figures


def _sources(cfg: Config) -> list[str]:
    """Names the training data of a config."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    sources = dataset.get('sources') or {'': dataset}
    named = []
    for name, source in sources.items():
        if source:
            keys = ('data_root', 'shards', 'ann_file', 'data_prefix', 'root')
            where = next((source[key] for key in keys if source.get(key)), source.get('type'))
            named.append(f'{name} {where}'.strip())
    return named
