# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Connects the processes of a run where MMEngine cannot: without GPUs, and after a restart by torchrun."""

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch

from vicmae.errors import ConfigError


def init_gloo(launcher: str, dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes of a run without GPUs, before the Runner would try to set one."""
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
            'Start the processes with `torchrun --nproc-per-node=N -m vicmae train CONFIG --launcher pytorch` or '
            'tools/dist_train.sh, or leave `--launcher` out for one process.'
        )
    init_process_group({**dist_cfg, 'backend': 'gloo'})


def init_after_restart(launcher: str, dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes of a run on GPUs that torchrun has restarted; else the Runner does."""
    restarted = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    if launcher == 'pytorch' and restarted and not torch.distributed.is_initialized():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        init_process_group(dist_cfg)


def init_process_group(dist_cfg: Mapping[str, Any]) -> None:
    """Connects the processes, with a prefix: torchrun's store still has the addresses of earlier attempts."""
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
            'Start it with `srun vicmae train CONFIG --launcher slurm` or tools/slurm_train.sh.'
        )
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', '0')
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
        hosts = subprocess.run(command, capture_output=True, text=True, check=True)
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
