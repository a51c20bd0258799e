# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Applies the arguments of `vicmae train` and `vicmae test` to a config."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from rich.console import Console
from rich.table import Table

from vicmae.errors import ConfigError
from vicmae.utils.files import require_folder

# Options of `ClassAccuracy`.
_TABLES = dict(confusion_file='confusion_matrix.csv', predictions_file='predictions.csv')
_RESTART_COUNTS = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT')


def train_overrides(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the override of `--amp`, then those of `--cfg-options`, which may set its options."""
    overrides = dict(args.cfg_options or {})
    if not args.amp:
        return overrides
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'BFloat16OptimWrapper':  # already mixed precision
        return overrides
    return {'optim_wrapper.type': 'AmpOptimWrapper', **overrides}


def apply_train_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the arguments of `vicmae train` to the config."""
    cfg.launcher = args.launcher
    if args.seed is not None:
        cfg.setdefault('randomness', {})['seed'] = args.seed
    if args.deterministic:
        cfg.setdefault('randomness', {})['deterministic'] = True
    # A launcher that restarts the command resumes the run.
    restarts = [os.environ.get(name, '0') for name in _RESTART_COUNTS]
    if args.resume or any(count.isdecimal() and int(count) > 0 for count in restarts):
        cfg.resume = True
        cfg.load_from = None if args.resume in (None, 'auto') else args.resume
    if args.no_validate:
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ConfigError(
                '`--auto-scale-lr` needs `auto_scale_lr = dict(base_batch_size=...)` in the config: the '
                'number of samples in a step that its learning rate is meant for.'
            )
        cfg.auto_scale_lr.enable = True
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not loader:
            continue
        if args.no_pin_memory:
            loader.pin_memory = False
        # PyTorch refuses this setting without workers.
        if args.no_persistent_workers or loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the arguments of `vicmae test` to the config."""
    cfg.launcher = args.launcher
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.seed is not None:
        cfg.setdefault('randomness', {})['seed'] = args.seed
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise ConfigError(
            f'The config {cfg.filename!r} has no `test_dataloader` and `test_evaluator`: nothing to test. '
            'vicmae_vit-tiny-p8_demo.py shows how labelled images and videos are named.'
        )
    if cfg.test_dataloader.get('num_workers', 0) == 0:
        cfg.test_dataloader.persistent_workers = False
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    for evaluator in evaluators:
        if evaluator.get('type') == 'ClassAccuracy':
            for option, name in _TABLES.items():
                evaluator.setdefault(option, str(Path(cfg.work_dir, name)))
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.out:  # refused before the evaluation, not after it
        require_folder(Path(args.out).parent, '--out')
        if os.path.isdir(args.out):
            raise ConfigError(f"Can't write `--out` {str(args.out)!r}: it is a folder.")
    if args.out_item == 'pred':
        cfg.test_evaluator = [*evaluators, dict(type='DumpPredictions', out_file_path=args.out)]


def _format_metric(value: float | str) -> str:
    """Formats percentages with one decimal, as in the report, and small numbers such as learning rates."""
    if isinstance(value, str):  # the reason why a probe was not measured
        return value
    if value == 0 or abs(value) >= 1:
        return f'{value:.1f}'
    return f'{value:.4f}' if abs(value) >= 0.001 else f'{value:.2g}'


def report_metrics(metrics: dict[str, Any], args: argparse.Namespace) -> None:
    """Prints the metrics as a table, and writes them to `--out`."""
    if not is_main_process():
        return
    table = Table('metric', 'value')
    table.columns[1].justify = 'right'
    for name, value in metrics.items():
        table.add_row(name, _format_metric(value))
    Console().print(table)
    if args.out and args.out_item == 'metrics':
        path = Path(args.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')
