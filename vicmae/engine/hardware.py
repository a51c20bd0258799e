# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fits a config to the hardware: CPU or GPU, precision, fused optimizers."""

from typing import Any

import torch
from mmengine.config import Config

from vicmae.utils.log import say, warn

_FUSED = ('Adam', 'AdamW')


def adapt_to_cpu(cfg: Config) -> None:
    """Changes settings that need a GPU, and logs that."""
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper':
        bfloat16 = wrapper.get('dtype') == 'bfloat16'
        dtype = 'bfloat16' if bfloat16 else 'float32'
        say(f'No GPU: training in {dtype}, without AmpOptimWrapper.')
        _leave_amp(wrapper, 'BFloat16OptimWrapper' if bfloat16 else 'OptimWrapper')
    if wrapper.get('type') == 'BFloat16OptimWrapper' and not cpu_has_bfloat16():
        warn(
            'This CPU has no instructions for bfloat16, and emulates it up to ten times slower than float32. Set '
            '`optim_wrapper.type=OptimWrapper`.'
        )
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].pin_memory = False
    ddp = 'MMDistributedDataParallel'
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(type=ddp, broadcast_buffers=False)
    if cfg.model_wrapper_cfg.get('type') == ddp:
        # The Runner's own choice hands `device_ids` to DDP, which refuses them on a CPU.
        cfg.model_wrapper_cfg.setdefault('device_ids', None)


def cpu_has_bfloat16() -> bool:
    """Returns whether matrix products in bfloat16 are fast on this CPU: AVX-512 BF16, AMX, or Arm's BF16."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_precision(cfg: Config) -> None:
    """Chooses the data type of mixed precision if the config doesn't: bfloat16 if the GPU has it.

    bfloat16 has the range of float32, so that nothing overflows and no loss is scaled.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') != 'AmpOptimWrapper':
        return
    if wrapper.get('dtype') is None:
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        wrapper['dtype'] = 'bfloat16' if has_bfloat16 else 'float16'
    if wrapper['dtype'] == 'bfloat16':
        _leave_amp(wrapper, 'BFloat16OptimWrapper')
        say('Mixed precision: bfloat16, which this GPU has.')
    else:
        wrapper.setdefault('loss_scale', 'dynamic')
        say(f'Mixed precision: {wrapper["dtype"]} with a scaled loss.')


def _leave_amp(wrapper: dict[str, Any], name: str) -> None:
    wrapper['type'] = name
    for key in ('loss_scale', 'dtype', 'use_fsdp'):
        wrapper.pop(key, None)


def let_device_skip(cfg: Config) -> None:
    """Chooses a fused optimizer by default: a GPU can skip its non-finite steps without the host."""
    wrapper = cfg.get('optim_wrapper') or {}
    optimizer = wrapper.get('optimizer') or {}
    scaled = wrapper.get('type') == 'AmpOptimWrapper'
    if optimizer.get('type') in _FUSED and 'foreach' not in optimizer and not scaled:
        optimizer.setdefault('fused', True)


def choose_test_precision(cfg: Config) -> None:
    """Makes a test with `--amp` use bfloat16 if the GPU has it, as training does."""
    amp = (cfg.get('test_cfg') or {}).get('fp16')
    if amp and torch.cuda.is_bf16_supported(including_emulation=False):
        torch.set_autocast_dtype('cuda', torch.bfloat16)
