# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Repeats a training step that `StepGuardHook` skipped, and finds the first non-finite value."""

import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vicmae.apis.model import load_model
from vicmae.apis.train_data import build_train_loader
from vicmae.config.load import load_config
from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sample_key import SampleKey
from vicmae.engine.bad_steps import WEIGHTS, named_losses
from vicmae.engine.gradients import local_norms
from vicmae.engine.hooks.step_seed import modules_with_shared_seed
from vicmae.engine.optimizers.bfloat16 import compute_in_bfloat16
from vicmae.errors import CheckpointError, ConfigError, DataError
from vicmae.utils.names import name_some

DEVICES = ('cpu', 'cuda')


@dataclass(frozen=True)
class Replay:
    """Result of a repeated step.

    Attributes:
        record: The record that the run wrote (see `vicmae.engine.bad_steps`).
        exact: Whether weights and seeds are those of the run.
        losses: By name, of each batch that is accumulated in the step.
        views: Per sample, the range of values of each view as the model gets it.
        grad_norm: Norm of all gradients.
        bad_gradients: Parameters with a non-finite gradient.
        bad_weights: Non-finite parameters and buffers.
        bad_module: Name, class and input range of the first module with a non-finite output.
    """

    record: dict[str, Any]
    exact: bool
    losses: list[dict[str, float]]
    views: list[list[str]]
    grad_norm: float
    bad_gradients: list[str]
    bad_weights: list[str]
    bad_module: tuple[str, str, str] | None

    @property
    def finite(self) -> bool:
        """Returns whether all losses and gradients are finite."""
        losses = [value for batch in self.losses for value in batch.values()]
        return all(map(math.isfinite, [*losses, self.grad_norm]))


def replay(
    record: str | Path,
    *,
    rank: int = 0,
    checkpoint: str | Path | None = None,
    device: str = 'cpu',
    amp: bool | None = None,
) -> Replay:
    """Runs a recorded step forward and backward.

    Args:
        record: Folder of the step, `WORK_DIR/bad_steps/iter_N`.
        rank: The rank whose batch is used.
        checkpoint: Weights to use instead of the recorded ones.
        device: One of `DEVICES`.
        amp: Whether to compute in mixed precision; None for the setting of the run.
    """
    if device not in DEVICES or (device == 'cuda' and not torch.cuda.is_available()):
        raise ConfigError(
            f"`device` must be one of {', '.join(DEVICES)}, and 'cuda' needs a GPU; got '{device}'."
        )
    folder = Path(record)
    row = _read(folder, rank)
    weights = Path(checkpoint) if checkpoint is not None else _recorded_weights(folder, row)
    try:
        model, batches = _load(load_config(folder / row['config']), row, folder, weights)
    except DataError as error:
        if Path(row['started_in']) == Path.cwd():
            raise
        raise DataError(
            f'{error} The run was started in {row["started_in"]!r}: relative paths are meant from there.'
        ) from error
    model = model.to(device).train()
    bad_weights = [name for name, t in model.state_dict().items() if not t.isfinite().all()]
    mixed = row['amp'] or dict(dtype='bfloat16', loss_scale=1.0)
    enabled = bool(row['amp']) if amp is None else amp
    scale = mixed['loss_scale'] if enabled else 1.0
    bad_modules = _watch(model)
    losses: list[dict[str, float]] = []
    views: list[list[str]] = []
    for batch, described in zip(batches, row['batches'], strict=True):
        if described['step_seed'] is not None:
            torch.manual_seed(described['step_seed'])
            for module in modules_with_shared_seed(model):
                module.shared_seed = described['shared_seed']
        for name, value in described['loss_weights'].items():
            path, _, attribute = name.rpartition('.')
            setattr(model.get_submodule(path), attribute, value)
        with _precision(model, mixed['dtype'] if enabled else None):
            data = model.data_preprocessor(batch, True)
            outputs = model(**data, mode='loss')
        total, logged = model.parse_losses(outputs)
        (total / len(batches) * scale).backward()
        losses.append({name: value.item() for name, value in named_losses(logged).items()})
        views += [[range_of(view) for view in data.sample(n)] for n in range(len(data))]
    trained = {name: p for name, p in model.named_parameters() if p.grad is not None}
    norms = local_norms(list(trained.values()))
    seeded = all(batch['step_seed'] is not None for batch in row['batches'])
    recorded = weights.name == WEIGHTS and checkpoint is None
    return Replay(
        record=row,
        exact=recorded and seeded and not row.get('sharded_in'),
        losses=losses,
        views=views,
        grad_norm=torch.linalg.vector_norm(norms).item() / scale,
        bad_gradients=[n for n, norm in zip(trained, norms, strict=True) if not norm.isfinite()],
        bad_weights=bad_weights,
        bad_module=next(iter(bad_modules), None),
    )


def _precision(model: nn.Module, dtype: str | None) -> AbstractContextManager[Any]:
    if dtype is None:
        return nullcontext()
    if dtype == 'bfloat16':
        return compute_in_bfloat16(model)
    return torch.autocast(next(model.parameters()).device.type, getattr(torch, dtype))


def print_replay(result: Replay, console: Console | None = None) -> None:
    """Prints the losses, the samples and the findings of a replay."""
    console = console or Console()
    batches = result.record['batches']
    table = Table('loss', 'in the run', 'now', title=f'iteration {result.record["iteration"]}')
    for batch, losses in zip(batches, result.losses, strict=True):
        for name, value in losses.items():
            before = float(batch['losses'].get(name, math.nan))
            table.add_row(name, f'{before:.6g}', f'{value:.6g}')
    table.add_row('norm of all gradients', '', f'{result.grad_norm:.6g}')
    console.print(table)
    num_views = max(map(len, result.views))
    table = Table('sample', 'key', *(f'view {n + 1}' for n in range(num_views)))
    samples = [sample for batch in batches for sample in batch['samples']]
    for sample, views in zip(samples, result.views, strict=True):
        table.add_row(sample['file'], str(sample['key']).strip('[]'), *views)
    console.print(table)
    for line in _findings(result):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _findings(result: Replay) -> Iterator[str]:
    if result.bad_module:
        name, kind, inputs = result.bad_module
        where = name or 'the model'
        yield f'The first output that is not finite is that of {where} ({kind}). Its input: {inputs}.'
    elif not result.finite:
        yield "Each module's output is finite: it begins in a loss or on the way back."
    if names := result.bad_weights:
        yield f'{len(names)} weights or buffers that are not finite themselves: {name_some(names, 10)}.'
    if names := result.bad_gradients:
        yield f'{len(names)} parameters with gradients that are not finite: {name_some(names, 10)}.'
    if result.record['world_size'] > 1:
        yield (
            f'The run had {result.record["world_size"]} ranks. This is the batch of rank {result.record["rank"]} '
            'alone: the contrastive loss lacks the negatives of the others, and gradients are not averaged.'
        )
    if not result.exact:
        yield 'Weights or seeds are not those of the run: figures differ from it.'
    yield f'The step is {"finite" if result.finite else "not finite"} here.'


def _read(folder: Path, rank: int) -> dict[str, Any]:
    path = folder / f'rank_{rank}.json'
    if not path.is_file():
        others = ', '.join(sorted(p.name for p in folder.glob('rank_*.json'))) or 'none'
        raise DataError(
            f'There is no record {str(path)!r}; there: {others}. Give a folder `WORK_DIR/bad_steps/iter_N`, '
            'and with `--rank` one of its ranks.'
        )
    try:
        row = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(
            f'The record {str(path)!r} is truncated or corrupt: {error}. Use another folder next to it.'
        ) from error
    if not any(batch['samples'] for batch in row['batches']):
        raise DataError(
            f'The record {str(path)!r} names no samples: nothing to run. Only `SteadyLoader` knows its own.'
        )
    return row


def _recorded_weights(folder: Path, row: dict[str, Any]) -> Path:
    path = folder / (row['weights'] or '')
    if not path.is_file():
        gone = f'there is no {str(path)!r}' if row['weights'] else '`max_records` others had them'
        raise CheckpointError(
            f'The record {str(folder)!r} has no weights ({gone}). Name those of a checkpoint near it: '
            '`--checkpoint WORK_DIR/epoch_N.pth`.'
        )
    return path


def _load(cfg: Config, row: dict[str, Any], folder: Path, weights: Path) -> tuple[Any, list[Any]]:
    """Loads the model and the recorded batches, replacements of bad samples included."""
    if not cfg.get('model'):
        raise ConfigError(f'The config {cfg.filename!r} has no `model`: no run to replay.')
    model = load_model(cfg, weights)
    loader = build_train_loader(cfg, num_workers=0)
    ledger = BadFileLedger(max_fraction=1.0)
    # What hung or killed a process of the run isn't opened here either.
    ledger.fatal_files |= BadFileLedger(folder.parent.parent / 'bad_files.jsonl').fatal_files
    keys = [[_sample_key(s['key']) for s in batch['samples']] for batch in row['batches']]
    again = SteadyLoader(
        loader.dataset, batch_sampler=keys, collate_fn=loader.collate_fn, ledger=ledger
    )
    return model, list(again)


def _sample_key(key: Any) -> Any:
    return SampleKey(*key) if isinstance(key, list) else key


def _watch(model: nn.Module) -> list[tuple[str, str, str]]:
    """Returns a list to which each module with a non-finite output is appended when it is called."""
    bad: list[tuple[str, str, str]] = []

    def look(name: str, module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        if not all(t.isfinite().all() for t in _floats(outputs)):
            bad.append((name, type(module).__name__, range_of((args, kwargs))))

    for name, module in model.named_modules():
        module.register_forward_hook(partial(look, name), with_kwargs=True)
    return bad


def range_of(values: Any) -> str:
    """Returns minimum and maximum of the finite values in nested tensors, and the number of others."""
    flat = torch.cat([t.detach().flatten().float() for t in _floats(values)] or [torch.empty(0)])
    finite = flat[flat.isfinite()]
    text = f'{finite.min():.4g} .. {finite.max():.4g}' if len(finite) else 'nan .. nan'
    wrong = len(flat) - len(finite)
    return f'{text}, {wrong} not finite' if wrong else text


def _floats(values: Any) -> list[Tensor]:
    leaves = tree_leaves(values)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
