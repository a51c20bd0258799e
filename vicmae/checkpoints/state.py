# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The whole state of a model and its optimizer, sharded (FSDP2) or not, and back.

Weights go through `torch.distributed.checkpoint`. The state of the optimizer doesn't: to read or load it, torch takes a
step with an optimizer that has none yet, which Adam counts; and checkpoints number parameters, as optimizers do.
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
    """Whether each process has a share of the model's weights only."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def whole_state(model: nn.Module, optim_wrapper: OptimWrapper | None = None) -> dict[str, Any]:
    """The `state_dict` of a model, and `optimizer` if there is one, whole; of a sharded one on the first process alone.

    All processes have to call it. Tensors of a model that isn't sharded are its own.
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
    """Copies `whole_state` to the CPU of the first process; nothing on the others."""
    state = whole_state(model, optim_wrapper)
    return as_plain(state) if rank_and_world_size()[0] == 0 else {}


def put_weights(model: nn.Module, weights: dict[str, Any]) -> None:
    """Puts whole weights into a model, all that it has or some; of a sharded one, each process takes its share."""
    if is_sharded(model):
        options = StateDictOptions(full_state_dict=True, strict=False)
        set_model_state_dict(model, weights, options=options)
    else:
        model.load_state_dict(weights, strict=False)


def shard_moments_on_loading(optimizer: Optimizer) -> None:
    """Lets the optimizer of a sharded model load the state of a whole one."""
    optimizer.register_load_state_dict_pre_hook(_shard_moments)


def _shard_moments(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    numbers = [n for group in state_dict['param_groups'] for n in group['params']]
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    # Of different lengths where they don't fit: the optimizer says so.
    parameter_of = dict(zip(numbers, parameters, strict=False))
    state = {
        number: {key: _shard_like(parameter_of[number], value) for key, value in moments.items()}
        for number, moments in state_dict['state'].items()
        if number in parameter_of
    }
    return {**state_dict, 'state': state}


def _shard_like(parameter: Tensor, value: Any) -> Any:
    """Shards a whole value as its parameter; what isn't of its shape stays as it is."""
    if not isinstance(parameter, DTensor) or getattr(value, 'shape', None) != parameter.shape:
        return value
    # Each process has the whole, so that nothing needs to be sent (`distribute_tensor` of torch 2.6 would).
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
