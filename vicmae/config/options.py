# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the arguments of tools/train.py and tools/test.py change in a config."""

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

from .load import load_config

# Of `ClassAccuracy`.
_TABLES = dict(confusion_file='confusion_matrix.csv', predictions_file='predictions.csv')


def train_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What `--cfg-options` change in a config, and `--amp`, which goes first: it has options of its own."""
    overrides = dict(args.cfg_options or {})
    if not args.amp:
        return overrides
    wrapper = load_config(args.config).get('optim_wrapper') or {}
    if wrapper.get('type') == 'BFloat16OptimWrapper':  # mixed precision already
        return overrides
    return {'optim_wrapper.type': 'AmpOptimWrapper', **overrides}


def apply_train_options(cfg: Config, args: argparse.Namespace) -> None:
    """Puts the arguments of tools/train.py into the config."""
    cfg.launcher = args.launcher
    _apply_seed(cfg, args)
    if args.deterministic:
        cfg.setdefault('randomness', {})['deterministic'] = True
    if args.resume or _is_restart():
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
        # Without workers there is none to keep, and PyTorch refuses the setting.
        if args.no_persistent_workers or loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Puts the arguments of tools/test.py into the config."""
    cfg.launcher = args.launcher
    cfg.load_from, cfg.resume = args.checkpoint, False
    _apply_seed(cfg, args)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise ConfigError(
            f'The config {cfg.filename!r} has no `test_dataloader` and `test_evaluator`: nothing to test. '
            'vicmae_vit-tiny-p8_demo.py shows how labelled images and videos are named.'
        )
    if cfg.test_dataloader.get('num_workers', 0) == 0:
        cfg.test_dataloader.persistent_workers = False
    _place_tables(cfg)
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.out:
        _require_writable(Path(args.out))
    if args.out_item == 'pred':
        evaluators = cfg.test_evaluator
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        cfg.test_evaluator = [*evaluators, dict(type='DumpPredictions', out_file_path=args.out)]


def report_metrics(metrics: dict[str, float], args: argparse.Namespace) -> None:
    """Prints the figures as a table, and writes them where `--out` says."""
    if not is_main_process():
        return
    table = Table('metric', 'value')
    table.columns[1].justify = 'right'
    for name, value in metrics.items():
        # Learning rates are among them.
        table.add_row(name, f'{value:.2f}' if value == 0 or abs(value) >= 0.1 else f'{value:.3g}')
    Console().print(table)
    if args.out and args.out_item == 'metrics':
        path = Path(args.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')


def _place_tables(cfg: Config) -> None:
    """Has the tables of a classifier's test written beside the log, where the config names no other place."""
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if evaluator.get('type') == 'ClassAccuracy':
            for option, name in _TABLES.items():
                evaluator.setdefault(option, str(Path(cfg.work_dir, name)))


def _is_restart() -> bool:
    """Whether a launcher has restarted the same command, which then resumes."""
    counts = (
        os.environ.get(name, '0') for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT')
    )
    return any(count.isdecimal() and int(count) > 0 for count in counts)


def _require_writable(path: Path) -> None:
    """Says before a test, not after it, that its result has nowhere to go."""
    require_folder(path.parent, '--out')
    if path.is_dir():
        raise ConfigError(f"Can't write `--out` {str(path)!r}: it is a folder.")


def _apply_seed(cfg: Config, args: argparse.Namespace) -> None:
    if args.seed is not None:
        cfg.setdefault('randomness', {})['seed'] = args.seed
