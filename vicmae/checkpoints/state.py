# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Collects and loads the whole state of a model and its optimizer, sharded (FSDP2) or not.

`torch.distributed.checkpoint` is used for weights only. For the state of an optimizer it would first take a step, which
Adam counts, and it names parameters, which checkpoints number.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from vicmae.utils.distributed import rank_and_world_size, unwrapped

from .write import as_plain


def is_sharded(model: nn.Module) -> bool:
    """Returns whether the model's weights are sharded over the processes."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def whole_state(model: nn.Module, optim_wrapper: OptimWrapper | None = None) -> dict[str, Any]:
    """Returns the unsharded `state_dict` of a model, and that of `optimizer` if it is given.

    All processes must call this. For a sharded model, only the first gets the state; otherwise tensors are not
    copied.
    """
    model = unwrapped(model)
    states: dict[str, Any] = {'state_dict': model.state_dict()}
    if optim_wrapper is not None:
        states['optimizer'] = optim_wrapper.state_dict()
    if not is_sharded(model):
        return states
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    is_first = rank_and_world_size()[0] == 0
    gathered = get_model_state_dict(model, options=options)  # empty on other processes
    states['state_dict'].clear()
    states['state_dict'].update(gathered)
    if 'optimizer' in states:
        states['optimizer'] = tree_map_only(
            Tensor, lambda value: _gather(value, keep=is_first), states['optimizer']
        )
    return states if is_first else {}


def _gather(value: Tensor, *, keep: bool) -> Tensor | None:
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.cpu() if keep else None


def collect_state(model: nn.Module, optim_wrapper: OptimWrapper | None = None) -> dict[str, Any]:
    """Copies `whole_state` to the CPU of the first process; other processes get an empty dict."""
    state = whole_state(model, optim_wrapper)
    return as_plain(state) if rank_and_world_size()[0] == 0 else {}


def put_weights(model: nn.Module, weights: dict[str, Any]) -> None:
    """Loads unsharded weights, all or some, into a model that may be sharded."""
    if is_sharded(model):
        options = StateDictOptions(full_state_dict=True, strict=False)
        set_model_state_dict(model, weights, options=options)
    else:
        model.load_state_dict(weights, strict=False)


def shard_moments_on_loading(optimizer: Optimizer) -> None:
    """Makes the optimizer of a sharded model load an unsharded state."""
    optimizer.register_load_state_dict_pre_hook(_shard_moments)


def _shard_moments(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    numbers = [n for group in state_dict['param_groups'] for n in group['params']]
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    # If the lengths differ, the optimizer raises an error.
    parameter_of = dict(zip(numbers, parameters, strict=False))
    state = {
        number: {key: _shard_like(parameter_of[number], value) for key, value in moments.items()}
        for number, moments in state_dict['state'].items()
        if number in parameter_of
    }
    return {**state_dict, 'state': state}


def _shard_like(parameter: Tensor, value: Any) -> Any:
    """Shards a value like a parameter of the same shape; returns others unchanged."""
    if not isinstance(parameter, DTensor) or getattr(value, 'shape', None) != parameter.shape:
        return value
    # Each process has the whole value, so nothing needs to be sent, as `distribute_tensor` of torch 2.6 would.
    mesh, placements = parameter.device_mesh, parameter.placements
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, mesh, placements)
    part = value[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
    return DTensor.from_local(
        part.to(parameter.to_local().device, copy=True),  # a view would keep the whole in memory
        mesh,
        placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
