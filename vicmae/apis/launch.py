# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From a config to a Runner that works on this machine."""

import os
import re
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from vicmae.checkpoints.read import require_checkpoint
from vicmae.config.check import places_of
from vicmae.errors import ConfigError, VicmaeError
from vicmae.registry import RUNNERS
from vicmae.utils.demo_data import make_demo_data_of
from vicmae.utils.files import require_folder
from vicmae.utils.log import say

# What Python says of a call without all arguments.
_MISSING = re.compile(
    r'(\w+)\.__init__\(\) missing \d+ required (?:keyword-only|positional) arguments?: (.*)'
)
_FUSED = ('Adam', 'AdamW')
_AMP_ONLY = ('loss_scale', 'dtype', 'use_fsdp')


def build_runner(cfg: Config, *, training: bool) -> Runner:
    """Builds the Runner of a config, with the data that it reads, on the hardware that is there.

    Whatever is wrong with the config or its data ends here, in one message.

    Args:
        cfg: The config, with `work_dir` and `launcher`.
        training: Whether the data for training are built as well, or only those for the test.
    """
    if training and not cfg.get('train_cfg'):
        raise ConfigError(
            f'The config {cfg.filename!r} trains nothing: it has no `train_cfg`. `tools/test.py CONFIG CHECKPOINT` '
            'measures a checkpoint with it.'
        )
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    if not torch.cuda.is_available():
        adapt_to_cpu(cfg)
        init_gloo(cfg.get('launcher', 'none'), dist_cfg)
    else:
        init_after_restart(cfg.get('launcher', 'none'), dist_cfg)
        if training:
            choose_precision(cfg)
            let_device_skip(cfg)
    if cfg.get('load_from') and '://' not in cfg.load_from:
        require_checkpoint(cfg.load_from)
    if not training:
        cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    _drop_halves(cfg)
    require_folder(Path(cfg.work_dir), '--work-dir')
    share_sampler_seed(cfg)
    cfg.setdefault('runner_type', 'VicmaeRunner')
    try:
        runner = RUNNERS.build(cfg)  # with the model, whose faults show at once
        make_demo_data_of(cfg)
        if training:
            runner.train_loop  # noqa: B018  a property that builds the loader
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            _check_batches(runner)
            _log_start(runner)
            if cfg.get('val_dataloader'):
                runner.val_loop  # noqa: B018
        else:
            runner.test_loop  # noqa: B018
    except VicmaeError:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ConfigError(
            f"The config {cfg.filename!r} can't be built. {what_is_wrong(error, cfg)}"
        ) from error
    return runner


def _drop_halves(cfg: Config) -> None:
    """Switches an evaluation off whole where one of its three settings is None; MMEngine wants all three so."""
    for name in ('val', 'test'):
        keys = [f'{name}_dataloader', f'{name}_evaluator', f'{name}_cfg']
        if any(key in cfg and cfg[key] is None for key in keys):
            cfg.merge_from_dict(dict.fromkeys(keys))


def adapt_to_cpu(cfg: Config) -> None:
    """Changes what only works with a GPU, and says so."""
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper':
        say('No GPU: training in float32, without AmpOptimWrapper.')
        wrapper['type'] = 'OptimWrapper'
        for key in _AMP_ONLY:
            wrapper.pop(key, None)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].pin_memory = False
    ddp = 'MMDistributedDataParallel'
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(type=ddp, broadcast_buffers=False)
    if cfg.model_wrapper_cfg.get('type') == ddp:
        # The Runner's own choice hands `device_ids` to DDP, which refuses them on a CPU.
        cfg.model_wrapper_cfg.setdefault('device_ids', None)


def choose_precision(cfg: Config) -> None:
    """Chooses what mixed precision computes in, where the config leaves it open, and says which.

    bfloat16 where the GPU has it: it reaches as far as float32, so that nothing overflows and no loss is scaled.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') != 'AmpOptimWrapper':
        return
    if wrapper.get('dtype') is None:
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        wrapper['dtype'] = 'bfloat16' if has_bfloat16 else 'float16'
    if wrapper['dtype'] == 'bfloat16':
        wrapper['type'] = 'BFloat16OptimWrapper'
        for key in _AMP_ONLY:
            wrapper.pop(key, None)
        say('Mixed precision: bfloat16, which this GPU has.')
    else:
        wrapper.setdefault('loss_scale', 'dynamic')
        say(f'Mixed precision: {wrapper["dtype"]} with a scaled loss.')


def let_device_skip(cfg: Config) -> None:
    """Has an optimiser fused that leaves it open: then a GPU skips non-finite steps without waiting for the host."""
    wrapper = cfg.get('optim_wrapper') or {}
    optimizer = wrapper.get('optimizer') or {}
    scaled = wrapper.get('type') == 'AmpOptimWrapper'
    if optimizer.get('type') in _FUSED and 'foreach' not in optimizer and not scaled:
        optimizer.setdefault('fused', True)


def init_gloo(launcher: str, dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes of a run without GPUs, before the Runner would try to set one.

    Args:
        launcher: What started the processes.
        dist_cfg: The config's `env_cfg.dist_cfg`; its `backend` is for GPUs.
    """
    if launcher == 'none' or torch.distributed.is_initialized():
        return
    if launcher == 'slurm':
        _read_slurm_environment()
    elif launcher == 'mpi':
        raise ConfigError(
            'Without a GPU, `--launcher mpi` is not supported. Use `--launcher pytorch` with torchrun.'
        )
    missing = [
        key for key in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT') if key not in os.environ
    ]
    if missing:
        raise ConfigError(
            f'`--launcher {launcher}` finds no {", ".join(missing)} in the environment. '
            'Start the processes with tools/dist_train.sh, or leave `--launcher` away for one process.'
        )
    init_process_group({**dist_cfg, 'backend': 'gloo'})


def init_after_restart(launcher: str, dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes of a run on GPUs that torchrun has started again; else the Runner does."""
    restarted = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    if launcher == 'pytorch' and restarted and not torch.distributed.is_initialized():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        init_process_group(dist_cfg)


def init_process_group(dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes, apart from those that torchrun started before: their addresses are in its store still.

    Args:
        dist_cfg: `backend`, and how many seconds a process waits for the others (`timeout`).
    """
    seconds = dist_cfg.get('timeout')
    if not isinstance(seconds, (int, float, type(None))):
        raise ConfigError(
            f'`env_cfg.dist_cfg.timeout` must be a number of seconds, got {seconds!r}.'
        )
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    store, rank, world_size = next(torch.distributed.rendezvous('env://'))
    torch.distributed.init_process_group(
        dist_cfg.get('backend', 'nccl'),
        timeout=None if seconds is None else timedelta(seconds=seconds),
        store=torch.distributed.PrefixStore(f'attempt_{attempt}', store),
        rank=rank,
        world_size=world_size,
    )


def _read_slurm_environment() -> None:
    if 'SLURM_PROCID' not in os.environ:
        raise ConfigError(
            '`--launcher slurm` finds no SLURM_PROCID in the environment. '
            'Start it with srun (tools/slurm_train.sh).'
        )
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', '0')
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            capture_output=True,
            text=True,
            check=True,
        )
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]


def share_sampler_seed(cfg: Config) -> None:
    """Gives the sampler the run's seed.

    MMEngine draws another one where ranks have seeds of their own (for their masks), so that the
    samples of an epoch would depend on what was drawn before.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if seed is not None and sampler.get('type') == 'MixtureSampler':
        sampler.setdefault('seed', seed)


def _check_batches(runner: Runner) -> None:
    """An epoch without a single batch would train nothing and say nothing; batch norm fails on one of one."""
    loader = runner.train_dataloader
    batches = loader.batch_sampler
    samples, size = len(batches.sampler), batches.batch_size
    if len(loader) == 0:
        raise ConfigError(no_batch_text(loader, runner.world_size))
    smallest = size if batches.drop_last else samples % size or size
    if smallest == 1 and any(isinstance(m, _BatchNorm) for m in runner.model.modules()):
        raise ConfigError(
            f'An epoch of {samples} samples on each process, cut by `train_dataloader.batch_size` {size}, has a '
            'batch of one, and the batch norm of this model needs two. Change `batch_size`, or take other norms: '
            '`model.predictor.norm=LN model.target.head.norm=LN`.'
        )


def no_batch_text(loader: DataLoader, world_size: int = 1) -> str:
    """What is said of a loader whose epoch is shorter than a batch.

    Args:
        loader: The loader.
        world_size: Number of processes.
    """
    batches: Any = loader.batch_sampler
    return (
        f'An epoch has {len(batches.sampler)} samples on each of {world_size} process(es), not one batch of '
        f'{batches.batch_size}. Lower `train_dataloader.batch_size`, add data, or raise '
        '`train_dataloader.sampler.samples_per_epoch`.'
    )


def _log_start(runner: Runner) -> None:
    dataset = runner.train_dataloader.dataset
    sizes = dict(zip(getattr(dataset, 'names', ()), getattr(dataset, 'sizes', ()), strict=True))
    sources = (
        ', '.join(f'{size:,} {name}' for name, size in sizes.items()) or f'{len(dataset):,} samples'
    )
    loader = runner.train_dataloader
    runner.logger.info(
        f'Training on {sources}: {len(loader)} batches of {loader.batch_sampler.batch_size} '
        f'an epoch on each of {runner.world_size} process(es). Config, environment and log: {runner.log_dir}'
    )


def what_is_wrong(error: Exception, cfg: Config) -> str:
    """An error's own words, or where to set an argument that is missing.

    Args:
        error: What building something raised.
        cfg: The config that it was built from.
    """
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    missing = _MISSING.search(text)
    if isinstance(error, TypeError) and missing:
        names = re.findall(r"'(\w+)'", missing[2])
        for place, node in places_of(cfg, missing[1]):
            options = ' '.join(f'{place}.{name}=' for name in names if name not in node)
            if options:
                needed = ', '.join(f'`{name}`' for name in names)
                return f'`{node.get("type", missing[1])}` needs {needed}: set `{options}`.'
    return text or type(error).__name__
