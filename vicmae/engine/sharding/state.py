# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The state of a divided model as that of a whole one, and back.

Dividing is along the first dimension: of n rows, each of W processes has ceil(n / W) in its turn, the last ones fewer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from vicmae.utils.distributed import rank_and_world_size, unwrapped


def collect_state(model: nn.Module, optim_wrapper: OptimWrapper | None = None) -> dict[str, Any]:
    """What a checkpoint has of a model and its optimiser, whole, in copies on the CPU, divided or not.

    All processes have to call it; tensors are put together one by one.

    Args:
        model: The model, in its wrapper if it has one.
        optim_wrapper: Its optimiser; None to leave that out.

    Returns:
        `state_dict`, and `optimizer` if there is one, on the first process; nothing on the others.
    """
    states = {'state_dict': unwrapped(model).state_dict()}
    if optim_wrapper is not None:
        states['optimizer'] = optim_wrapper.state_dict()
    is_first = rank_and_world_size()[0] == 0

    def whole(value: Tensor, path: list[Any]) -> Tensor | None:
        value = value.detach()
        if isinstance(value, DTensor):
            value = value.full_tensor()
        return value.to('cpu', copy=True) if is_first else None

    states = map_tensors(states, whole)
    return states if is_first else {}


def spread_state(
    state: Mapping[str, Any], model: nn.Module, optim_wrapper: OptimWrapper | None = None
) -> None:
    """Loads what `collect_state` gave, or an undivided run saved: the same on all processes, each takes its share.

    Args:
        state: `state_dict`, and `optimizer` for an optimiser.
        model: The model, in its wrapper if it has one.
        optim_wrapper: Its optimiser; None to leave that as it is.
    """
    unwrapped(model).load_state_dict(state['state_dict'])
    if optim_wrapper is not None:
        optim_wrapper.load_state_dict(cut_moments(optim_wrapper.optimizer, state['optimizer']))


@contextmanager
def full_states(model: nn.Module, optim_wrapper: OptimWrapper | None = None) -> Iterator[None]:
    """Lets `state_dict()` of a divided model and its optimiser give what `collect_state` does, for who writes it.

    All processes have to enter. With a model that isn't divided, nothing changes.
    """
    if not is_divided(model):
        yield
        return
    state = collect_state(model, optim_wrapper)
    handles = [
        unwrapped(model)._register_state_dict_hook(lambda *_: state.get('state_dict', {})),
    ]
    if optim_wrapper is not None:
        moments = {key: state.get('optimizer', {}).get(key) for key in ('state', 'param_groups')}
        handles.append(optim_wrapper.optimizer.register_state_dict_post_hook(lambda *_: moments))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def is_divided(model: nn.Module) -> bool:
    """Whether each process has a share of the model's weights only."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def cut_weights_on_loading(model: nn.Module) -> None:
    """Lets a divided model load the state of a whole one, of which each process takes its rows.

    After what the modules themselves do when they load: resized positions, a teacher where there was none.
    """

    def cut_own(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            key = prefix + name
            if key in state_dict:
                state_dict[key] = rows_of(parameter, state_dict[key])

    for module in model.modules():
        module.register_load_state_dict_pre_hook(cut_own)


def cut_moments_on_loading(optimizer: Optimizer) -> None:
    """Lets an optimiser of a divided model load the state of a whole one."""
    optimizer.register_load_state_dict_pre_hook(cut_moments)


def cut_moments(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The share of this process in an optimiser's state."""
    numbers = [n for group in state_dict['param_groups'] for n in group['params']]
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    # Of different lengths where they don't fit: the optimiser says so.
    parameter_of = dict(zip(numbers, parameters, strict=False))
    state = {
        number: {key: rows_of(parameter_of[number], value) for key, value in moments.items()}
        for number, moments in state_dict['state'].items()
        if number in parameter_of
    }
    return {**state_dict, 'state': state}


def rows_of(parameter: Tensor, value: Any) -> Any:
    """The rows of a whole value that go with a divided parameter; what isn't of its shape stays as it is."""
    if (
        not isinstance(parameter, DTensor)
        or not isinstance(value, Tensor)
        or isinstance(value, DTensor)
        or value.shape != parameter.shape
    ):
        return value
    local = parameter.to_local()
    begin = first_row(parameter)
    return DTensor.from_local(
        # A copy, or the whole would stay in memory for it.
        value[begin : begin + len(local)].to(local.device, copy=True),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def first_row(divided: DTensor) -> int:
    """Where the rows of this process begin."""
    rank, world_size = rank_and_world_size()
    num_rows = divided.shape[0]
    return min(rank * -(-num_rows // world_size), num_rows)


def map_tensors(
    tree: Any, change: Callable[[Tensor, list[Any]], Any], path: Sequence[Any] = ()
) -> Any:
    """A copy of nested dicts and lists with each tensor changed, in order; `change` gets its path of keys, too."""
    if isinstance(tree, Tensor):
        return change(tree, list(path))
    if isinstance(tree, dict):
        copied: Any = type(tree)(
            (key, map_tensors(value, change, [*path, key])) for key, value in tree.items()
        )
        if hasattr(tree, '_metadata'):  # versions of modules, beside their state
            copied._metadata = tree._metadata
        return copied
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tensors(v, change, [*path, i]) for i, v in enumerate(tree))
    return tree
