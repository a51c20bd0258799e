# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks in one call what each registered module has to do."""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from vicmae.models.parts import build_part

from .toys import randomize

# bfloat16 keeps three digits.
_BF16_DISTANCE = 0.1


def check_component(
    config: dict[str, Any],
    call: Callable[[Any], Tensor],
    *,
    shape: Sequence[int],
    nested: Sequence[str] = (),
) -> None:
    """Checks a registered module, and raises AssertionError with what is wrong.

    - Its config is the same after it was written to a file and read again, and it builds.
    - Its output has the shape, is float32 and finite, and nearly the same in bfloat16.
    - One training step gives each trainable parameter a gradient and moves some of them; it leaves frozen ones alone.
    - Its weights, written and loaded into another one, give the same output.

    Args:
        config: Config with `type`, plain values only.
        call: Computes a tensor of floats with the module; draws what it needs from torch's global generator.
        shape: Shape of that tensor.
        nested: Arguments that are parts themselves, which an algorithm builds before.

    Examples:
        >>> check_component(
        ...     dict(type='MLPHead', in_dim=4, out_dim=2),
        ...     lambda head: head(torch.randn(8, 4)),
        ...     shape=(8, 2),
        ... )
    """
    with torch.random.fork_rng(devices=[]):
        _check_config(config)
        module = _build(config, nested)
        _check_output(module, call, tuple(shape))
        _check_training_step(module, call)
        _check_state_dict(module, _build(config, nested, seed=1), call)


def _build(config: dict[str, Any], nested: Sequence[str], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomize(build_part(config, nested), seed)


def _run(module: nn.Module, call: Callable[[Any], Tensor]) -> Tensor:
    torch.manual_seed(0)  # the same draws each time
    output = call(module)
    kind = type(output).__name__
    _require(isinstance(output, Tensor), f'{type(module).__name__} gives a {kind}, not a tensor.')
    return output


def _require(holds: Any, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _check_config(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'config.py')
        Config(dict(component=config)).dump(path)
        again = Config.fromfile(path).component.to_dict()
    _require(again == config, f'The config is another one after it was written and read: {again}.')


def _check_output(module: nn.Module, call: Callable[[Any], Tensor], shape: tuple) -> None:
    module.eval()
    with torch.no_grad():
        output = _run(module, call)
        with torch.autocast('cpu', torch.bfloat16):
            rough = _run(module, call).float()
    _require(output.shape == shape, f'The output is {tuple(output.shape)}, not {shape}.')
    _require(output.dtype == torch.float32, f'The output is {output.dtype}, not torch.float32.')
    _require(output.isfinite().all(), 'The output has NaN or infinite values.')
    _require(rough.shape == shape, f'In bfloat16 the output is {tuple(rough.shape)}, not {shape}.')
    distance = float((rough - output).norm() / output.norm().clamp(min=1e-6))
    _require(distance < _BF16_DISTANCE, f'In bfloat16 the output is off by {distance:.0%}.')


def _check_training_step(module: nn.Module, call: Callable[[Any], Tensor]) -> None:
    module.train()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    output = _run(module, call)
    if trained:
        # A sum alone may be constant, that of a layer norm is.
        (output * torch.randn(output.shape)).sum().backward()
        torch.optim.SGD(module.parameters(), lr=0.1).step()
    moved = {name for name, p in module.named_parameters() if not p.detach().equal(before[name])}
    for name, p in module.named_parameters():
        if name in trained:
            finite = p.grad is not None and p.grad.isfinite().all()
            _require(finite, f'`{name}` gets no finite gradient.')
        else:
            _require(p.grad is None, f'`{name}` is frozen, but has a gradient.')
    _require(moved <= trained, f'The step moved frozen parameters: {moved - trained}.')
    _require(moved or not trained, 'The step moved no parameter.')


def _check_state_dict(module: nn.Module, other: nn.Module, call: Callable[[Any], Tensor]) -> None:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    module.eval()
    other.eval()
    with torch.no_grad():
        same = _run(module, call).equal(_run(other, call))
    _require(same, 'With the same weights loaded, the output is another.')
