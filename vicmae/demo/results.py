# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Collects the data of a pretraining run for its report."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config

import vicmae
from vicmae.apis import Features, extract_features, load_clips, load_model
from vicmae.apis.train_data import sources_of
from vicmae.datasets.sources.source import Source
from vicmae.environment import installed
from vicmae.registry import DATASETS
from vicmae.utils.files import shorten_path
from vicmae.utils.spread import pick_evenly
from vicmae.visualization.charts import KINDS, Curve, CurvePanel, ProbeResult
from vicmae.visualization.reconstruction import draw_reconstructions

from .knn import knn_metric
from .report import (
    Neighbour,
    NeighbourRow,
    NextStep,
    ReconstructionRow,
    Report,
)

_METHODS = {'ViCMAE': 'ViC-MAE'}
_NUM_NEIGHBOURS = 5
_QUERIES_PER_KIND = 3
_RECONSTRUCTIONS_PER_KIND = 3


def report_of_run(
    cfg: Config,
    checkpoint: Path,
    *,
    pretrained: Mapping[str, float],
    random_init: Mapping[str, float],
    seconds: float,
    facts: Mapping[str, str],
    next_steps: list[NextStep],
) -> Report:
    """Collects the report of a run: its log, metrics, and pictures of what the model sees.

    Args:
        cfg: The run's config. Its test data set, if it has one, has bank and query of each probe.
        checkpoint: The run's weights, next to its log.
        pretrained: Metrics of `vicmae test` for these weights; none without labelled test data.
        random_init: Metrics for random weights.
        seconds: Duration of pretraining.
        facts: Rows for the table of facts, besides versions and machine.
        next_steps: Commands to try.
    """
    model = load_model(cfg, checkpoint)
    sources = sources_of(DATASETS.build(cfg.train_dataloader.dataset))
    sizes = Counter(dict.fromkeys(KINDS, 0))
    for source in sources.values():
        sizes[f'{source.kind}s'] += len(source)
    shared: dict[str, Any] = dict(
        title=f'{_METHODS.get(cfg.model.type, cfg.model.type)} on {describe_data(cfg)}',
        seconds=seconds,
        num_images=sizes['images'],
        num_videos=sizes['videos'],
        panels=curve_panels(checkpoint.parent),
        facts={**facts, **machine_facts()},
        next_steps=next_steps,
    )
    kinds = [kind for kind in KINDS if knn_metric(pretrained, kind)]
    if not kinds:
        rows = [row for source in sources.values() for row in _rows_of_files(model, source)]
        return Report(**shared, reconstructions=rows)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    models = dict(pretrained=model, random_init=load_model(cfg, seed=cfg.randomness.seed))
    workers = cfg.test_dataloader.num_workers
    features = {
        name: extract_features(model, dataset, num_workers=workers)
        for name, model in models.items()
    }
    trained = features['pretrained']
    reconstructions = [_reconstruction_rows(model, dataset, trained, kind) for kind in kinds]
    return Report(
        **shared,
        probes=[_probe_result(kind, trained, pretrained, random_init) for kind in kinds],
        reconstructions=list(chain.from_iterable(reconstructions)),
        neighbours=[row for kind in kinds for row in _neighbour_rows(dataset, features, kind)],
    )


def describe_data(cfg: Config) -> str:
    """Names the training data of a config: 'the demo data', or its folders and lists."""
    dataset = cfg.train_dataloader.dataset
    sources = list(dataset.sources.values()) if 'sources' in dataset else [dataset]
    places = [
        os.path.join(*(source[key] for key in ('data_root', 'data_prefix') if source.get(key)), '')
        if source.get('data_root')
        else source.get('ann_file') or source.get('shards') or source.type
        for source in sources
    ]
    demo = (cfg.get('demo_data') or {}).get('root')
    if demo and all(str(place).startswith(f'{demo}/') for place in places):
        return 'the demo data'
    return ' and '.join(dict.fromkeys(shorten_path(str(place).rstrip('/')) for place in places))


def training_seconds(work_dir: Path) -> float:
    """Returns the time of all training steps of a run, by its logs."""
    rows = _read_rows(work_dir)[0]
    times = [row['time'] for row in rows.values() if 'time' in row]
    return max(rows, default=0) * sum(times) / max(1, len(times))


def curve_panels(work_dir: Path) -> list[CurvePanel]:
    """Reads the curves of a run from MMEngine's logs, of all its resumes."""
    steps, epochs = _read_rows(work_dir)

    def curve(rows: dict[int, dict[str, float]], key: str, name: str) -> Curve:
        points = {float(step): rows[step][key] for step in sorted(rows) if key in rows[step]}
        return Curve(name, list(points), list(points.values()))

    def by_kind(title: str, key: str, unit: str = '') -> CurvePanel:
        curves = [curve(epochs, f'{kind}/{key}', kind) for kind in KINDS]
        return CurvePanel(title, [c for c in curves if c.steps], x_label='epoch', unit=unit)

    weight = curve(steps, 'contrastive_weight', 'weight')
    panels = [
        CurvePanel('Reconstruction loss', [curve(steps, 'reconstruction', 'reconstruction')]),
        CurvePanel('Contrastive loss', [curve(steps, 'contrastive', 'contrastive')]),
        CurvePanel('Weight of the contrastive loss', [weight]),
        by_kind('kNN accuracy', 'knn_top1', unit='%'),
        by_kind('Effective rank of the features', 'effective_rank'),
        by_kind('Mean cosine of two features (1: collapse)', 'mean_cosine'),
    ]
    return [panel for panel in panels if any(curve.steps for curve in panel.curves)]


def _read_rows(work_dir: Path) -> tuple[dict[int, dict[str, float]], dict[int, dict[str, float]]]:
    """Reads the logged rows of training by step, and those of evaluations by epoch."""
    steps: dict[int, dict[str, float]] = {}
    epochs: dict[int, dict[str, float]] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for row in map(json.loads, path.read_text(encoding='utf-8').splitlines()):
            # Rows of training have the iteration, those of evaluations only `step`, their epoch.
            (steps if 'iter' in row else epochs).setdefault(int(row['step']), {}).update(row)
    return steps, epochs


def _probe_result(
    probe: str,
    features: Features,
    pretrained: Mapping[str, float],
    random_init: Mapping[str, float],
) -> ProbeResult:
    bank, query = _rows_of(features, probe, 'bank'), _rows_of(features, probe, 'query')
    knn = str(knn_metric(pretrained, probe))
    return ProbeResult(
        kind=probe,
        pretrained=pretrained[knn],
        random_init=random_init[knn],
        chance=pretrained[f'{probe}/chance'],
        num_bank=len(bank),
        num_queries=len(query),
        num_classes=len(features.labels[bank].unique()),
    )


def _rows_of(features: Features, probe: str, role: str) -> list[int]:
    """Returns the positions of a probe's bank or queries."""
    return [i for i, m in enumerate(features.meta) if (m['probe'], m['role']) == (probe, role)]


def _frame(dataset: Any, index: int) -> torch.Tensor:
    """Returns the middle frame of a sample as the model sees it, (C, H, W), uint8."""
    clip = dataset[index]['inputs']
    return clip[len(clip) // 2]


def _picture(dataset: Any, index: int) -> np.ndarray:
    return _frame(dataset, index).permute(1, 2, 0).numpy()


def _class_name(features: Features, row: int) -> str:
    """Returns the name of a sample's class, or its number where a list has numbers."""
    return features.meta[row].get('class_name', f'class {int(features.labels[row])}')


def _reconstruction_rows(
    model: Any, dataset: Any, features: Features, probe: str
) -> list[ReconstructionRow]:
    rows = pick_evenly(_rows_of(features, probe, 'query'), _RECONSTRUCTIONS_PER_KIND)
    drawn = draw_reconstructions(model, torch.stack([_frame(dataset, i) for i in rows]))
    return [
        ReconstructionRow(
            kind=probe,
            label=_class_name(features, i),
            source=Path(features.meta[i]['path']).name,
            original=drawn.original[n],
            masked=drawn.masked[n],
            output=drawn.output[n],
        )
        for n, i in enumerate(rows)
    ]


def _rows_of_files(model: Any, source: Source) -> list[ReconstructionRow]:
    """Draws some files of the training data, where there is no labelled test data."""
    paths = [
        source.path_of(i) for i in pick_evenly(list(range(len(source))), _RECONSTRUCTIONS_PER_KIND)
    ]
    if not all(map(os.path.isfile, paths)):  # shards, or folders of frames
        return []
    frames = torch.cat(load_clips(paths, model.backbone.img_size, num_frames=1))
    drawn = draw_reconstructions(model, frames)
    return [
        ReconstructionRow(f'{source.kind}s', '', Path(path).name, *pictures)
        for path, *pictures in zip(paths, *drawn, strict=True)
    ]


def _neighbour_rows(
    dataset: Any, features: Mapping[str, Features], probe: str
) -> list[NeighbourRow]:
    rows = pick_evenly(_rows_of(features['pretrained'], probe, 'query'), _QUERIES_PER_KIND)
    return [
        NeighbourRow(
            kind=probe,
            picture=_picture(dataset, i),
            label=_class_name(features['pretrained'], i),
            pretrained=_nearest(dataset, features['pretrained'], probe, i),
            random_init=_nearest(dataset, features['random_init'], probe, i),
        )
        for i in rows
    ]


def _nearest(dataset: Any, features: Features, probe: str, query: int) -> list[Neighbour]:
    bank = _rows_of(features, probe, 'bank')
    vectors = F.normalize(features.features, dim=-1)
    similarity = vectors[bank] @ vectors[query]
    values, order = similarity.topk(min(_NUM_NEIGHBOURS, len(bank)))
    return [
        Neighbour(_picture(dataset, bank[n]), _class_name(features, bank[n]), float(value))
        for n, value in zip(order.tolist(), values, strict=True)
    ]


def machine_facts() -> dict[str, str]:
    """Returns the date, the machine and the versions of the packages that are installed."""
    names = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmpretrain', 'av', 'decord')
    versions = [f'{p.name} {p.version}' for p in map(installed, names) if p is not None]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    machine = f'{platform.system()} {platform.machine()}, {torch.get_num_threads()} CPU threads'
    return {
        'Date': date.today().isoformat(),
        'Machine': f'{machine}, GPU: {gpu}',
        'Python': platform.python_version(),
        'Packages': ', '.join([f'vicmae {vicmae.__version__}', *versions]),
    }
