# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From a pretraining run on disk to the data of its report."""

import json
import platform
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config

import vicmae
from vicmae.apis import Features, extract_features, load_model
from vicmae.environment import installed
from vicmae.registry import DATASETS
from vicmae.visualization.charts import Curve, CurvePanel, ProbeResult
from vicmae.visualization.reconstruction import draw_reconstructions

from .report import Neighbour, NeighbourRow, NextStep, ReconstructionRow, Report

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
    """Collects what the report of a run shows: its log, its figures, and pictures of what the model sees.

    Args:
        cfg: The run's config, whose test data set names bank and query of each probe.
        checkpoint: The run's weights; the log beside them is read.
        pretrained: Figures of tools/test.py for these weights.
        random_init: Figures for random weights.
        seconds: How long pretraining took.
        facts: What the table of facts holds besides versions and machine.
        next_steps: Commands to try.
    """
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    seed = cfg.randomness.seed
    models = dict(pretrained=load_model(cfg, checkpoint), random_init=load_model(cfg, seed=seed))
    workers = cfg.test_dataloader.num_workers
    features = {
        name: extract_features(model, dataset, num_workers=workers)
        for name, model in models.items()
    }
    probes = sorted({str(meta['probe']) for meta in features['pretrained'].meta})
    sizes = _source_sizes(cfg)
    return Report(
        title='ViC-MAE on the demo data',
        seconds=seconds,
        num_images=sizes.get('images', 0),
        num_videos=sizes.get('videos', 0),
        probes=[_probe_result(p, features['pretrained'], pretrained, random_init) for p in probes],
        panels=curve_panels(checkpoint.parent),
        reconstructions=[
            row
            for probe in probes
            for row in _reconstruction_rows(
                models['pretrained'], dataset, features['pretrained'], probe
            )
        ],
        neighbours=[row for probe in probes for row in _neighbour_rows(dataset, features, probe)],
        facts={**facts, **machine_facts()},
        next_steps=next_steps,
    )


def curve_panels(work_dir: Path) -> list[CurvePanel]:
    """Reads the curves of a run from MMEngine's log, over all its resumes."""
    steps: dict[int, dict[str, float]] = {}
    epochs: dict[int, dict[str, float]] = {}
    for row in _log_rows(work_dir):
        # Training logs carry the iteration; evaluations only `step`, which then is the epoch.
        (steps if 'iter' in row else epochs).setdefault(int(row['step']), {}).update(row)

    def curve(rows: dict[int, dict[str, float]], key: str, name: str) -> Curve:
        points = [(float(s), rows[s][key]) for s in sorted(rows) if key in rows[s]]
        return Curve(name, [p[0] for p in points], [p[1] for p in points])

    knn = [curve(epochs, f'{kind}/knn_top1', kind) for kind in ('images', 'videos')]
    rank = [curve(epochs, f'{kind}/effective_rank', kind) for kind in ('images', 'videos')]
    cosine = [curve(epochs, f'{kind}/mean_cosine', kind) for kind in ('images', 'videos')]
    return [
        CurvePanel('Reconstruction loss', [curve(steps, 'reconstruction', 'reconstruction')]),
        CurvePanel('Contrastive loss', [curve(steps, 'contrastive', 'contrastive')]),
        CurvePanel(
            'Weight of the contrastive loss', [curve(steps, 'contrastive_weight', 'weight')]
        ),
        CurvePanel('kNN accuracy', [c for c in knn if c.steps], x_label='epoch', unit='%'),
        CurvePanel('Effective rank of the features', [c for c in rank if c.steps], x_label='epoch'),
        CurvePanel(
            'Mean cosine of two features (1: collapse)',
            [c for c in cosine if c.steps],
            x_label='epoch',
        ),
    ]


def _log_rows(work_dir: Path) -> Iterator[dict[str, Any]]:
    """All rows of all logs below a work directory, oldest first."""
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            yield json.loads(line)


def _probe_result(
    probe: str,
    features: Features,
    pretrained: Mapping[str, float],
    random_init: Mapping[str, float],
) -> ProbeResult:
    bank, query = _rows_of(features, probe, 'bank'), _rows_of(features, probe, 'query')
    return ProbeResult(
        kind=probe,
        pretrained=pretrained[f'{probe}/knn_top1'],
        random_init=random_init[f'{probe}/knn_top1'],
        chance=pretrained[f'{probe}/chance'],
        num_bank=len(bank),
        num_queries=len(query),
        num_classes=len(features.labels[bank].unique()),
    )


def _rows_of(features: Features, probe: str, role: str) -> list[int]:
    """Positions of a probe's bank or queries."""
    return [i for i, m in enumerate(features.meta) if (m['probe'], m['role']) == (probe, role)]


def _pick(rows: list[int], count: int) -> list[int]:
    """Some of the rows, evenly spread: of a data set in order of classes, from different ones."""
    return [
        rows[i] for i in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    ]


def _frame(dataset: Any, index: int) -> torch.Tensor:
    """The middle frame of a sample as the model sees it, (C, H, W), uint8."""
    clip = dataset[index]['inputs']
    return clip[len(clip) // 2]


def _picture(dataset: Any, index: int) -> np.ndarray:
    return _frame(dataset, index).permute(1, 2, 0).numpy()


def _class_name(meta: Mapping[str, Any]) -> str:
    return Path(meta['path']).parent.name


def _reconstruction_rows(
    model: Any, dataset: Any, features: Features, probe: str
) -> list[ReconstructionRow]:
    rows = _pick(_rows_of(features, probe, 'query'), _RECONSTRUCTIONS_PER_KIND)
    drawn = draw_reconstructions(model, torch.stack([_frame(dataset, i) for i in rows]))
    return [
        ReconstructionRow(
            kind=probe,
            label=_class_name(features.meta[i]),
            source=Path(features.meta[i]['path']).name,
            original=drawn.original[n],
            masked=drawn.masked[n],
            output=drawn.output[n],
        )
        for n, i in enumerate(rows)
    ]


def _neighbour_rows(
    dataset: Any, features: Mapping[str, Features], probe: str
) -> list[NeighbourRow]:
    rows = _pick(_rows_of(features['pretrained'], probe, 'query'), _QUERIES_PER_KIND)
    return [
        NeighbourRow(
            kind=probe,
            picture=_picture(dataset, i),
            label=_class_name(features['pretrained'].meta[i]),
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
        Neighbour(_picture(dataset, bank[n]), _class_name(features.meta[bank[n]]), float(value))
        for n, value in zip(order.tolist(), values, strict=True)
    ]


def _source_sizes(cfg: Config) -> dict[str, int]:
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return dict(zip(dataset.names, dataset.sizes, strict=True))


def machine_facts() -> dict[str, str]:
    """Returns the date, the machine and the versions of the packages that are installed."""
    names = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmpretrain', 'av', 'decord')
    found = [package for package in map(installed, names) if package is not None]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return {
        'Date': date.today().isoformat(),
        'Machine': f'{platform.system()} {platform.machine()}, {torch.get_num_threads()} CPU threads, GPU: {gpu}',
        'Python': platform.python_version(),
        'Packages': ', '.join(
            [f'vicmae {vicmae.__version__}', *(f'{p.name} {p.version}' for p in found)]
        ),
    }
