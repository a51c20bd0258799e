# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Optimizer wrappers whose `step()` skips non-finite steps, on all ranks alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vicmae.registry import OPTIM_WRAPPERS
from vicmae.utils.distributed import rank_and_world_size

from ..gradients import local_norms


@dataclass
class StepCheck:
    """Result of the check before a step of the optimizer.

    Attributes:
        flags: 0 or 1 for all ranks: the run has to end, a loss is not finite, a gradient is not finite.
        parameters: Parameters with a gradient.
        norms: Norms of these gradients, or of this rank's shards.
        bad: Whether the step is skipped; None until the host has read it.
    """

    flags: Tensor
    parameters: list[nn.Parameter]
    norms: Tensor
    bad: bool | None = None


@OPTIM_WRAPPERS.register_module(name='OptimWrapper')
class GuardedOptimWrapper(OptimWrapper):
    """MMEngine's wrapper, which skips a step if losses or gradients of any rank are not finite.

    A skipped step doesn't change weights, the optimizer's state or the model's buffers. If `skips_on_device`, the host
    reads the flags every `check_interval` steps only; elsewhere it decides at each step. `StepGuardHook` switches the
    guard on; without it, every step is taken.

    For a wrapper with its own `step`, derive from this class first: `class Mine(GuardedOptimWrapper, Theirs)`.

    Attributes:
        guarded: Whether steps are checked.
        check_interval: Interval in steps at which the host reads what the device decided.
        asked_to_end: Whether this rank asks to end the run. All ranks learn it with the flags of a step.
        end_agreed: Whether any rank asked, as far as the host has read.
        last_check: Check of the last step.
    """

    guarded = False
    check_interval = 10
    asked_to_end = False
    end_agreed = False
    last_check: StepCheck | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forget()

    def _forget(self) -> None:
        self._unread: list[StepCheck] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._bad_loss: Tensor | None = None

    def initialize_count_status(self, *args: Any, **kwargs: Any) -> None:
        """Forgets earlier steps when a run begins or rewinds."""
        super().initialize_count_status(*args, **kwargs)
        self._forget()

    @property
    def scale(self) -> float:
        """Returns the factor of losses before the backward pass."""
        return self.loss_scaler.get_scale() if self._scales() else 1.0

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group['params']]

    def _scales(self) -> bool:
        scaler = getattr(self, 'loss_scaler', None)
        return scaler is not None and scaler.is_enabled()

    def skips_on_device(self) -> bool:
        """Returns whether the device skips steps by itself: on a GPU, with a fused optimizer, without a scaler.

        Not SGD with momentum: after a skipped first step, torch's fused one reads moments that were never written.
        """
        return (
            not self._scales()
            and self._parameters()[0].device.type == 'cuda'
            and getattr(self.optimizer, '_step_supports_amp_scaling', False)
            and all(g.get('fused') and not g.get('momentum') for g in self.optimizer.param_groups)
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Returns the context of the forward pass, and keeps the buffers from before the first pass of a step."""
        if self.guarded and model.training and self._bad_loss is None:
            self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        with super().optim_context(model):
            yield

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Checks whether the loss is finite, and runs the backward pass."""
        bad = ~loss.detach().isfinite().all()
        self._bad_loss = bad if self._bad_loss is None else self._bad_loss | bad
        super().update_params(loss, *args, **kwargs)

    def pass_over(self) -> None:
        """Counts a skipped iteration."""
        self._inner_count += 1
        if self.should_update():  # drops a step that began before the range
            self.zero_grad()
            self._buffers, self._bad_loss = [], None
            self._check([])

    def step(self, **kwargs: Any) -> None:
        """Takes a step, unless a rank has a non-finite loss or gradient."""
        check = self._check([p for p in self._parameters() if self.guarded and p.grad is not None])
        if self.guarded and self.skips_on_device():
            self._step_on_device(check.flags[1:].amax(), kwargs)
        elif not self.guarded or not check.bad:
            super().step(**kwargs)
        else:
            for buffer, before in self._buffers:
                buffer.copy_(before)
        self._buffers, self._bad_loss = [], None

    def _step_on_device(self, bad: Tensor, kwargs: dict[str, Any]) -> None:
        """Steps if `bad` is 0, by torch's protocol between `GradScaler` and a fused optimizer."""
        optimizer: Any = self.optimizer
        optimizer.found_inf, optimizer.grad_scale = bad, None
        try:
            super().step(**kwargs)
        finally:
            del optimizer.found_inf, optimizer.grad_scale
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(bad > 0, before, buffer))

    def _check(self, parameters: list[nn.Parameter]) -> StepCheck:
        """Checks losses and gradients of all ranks in one small all-reduce."""
        device = self._parameters()[0].device
        norms = local_norms(parameters, device)
        flags = torch.zeros(3, device=device)
        flags[0].fill_(self.asked_to_end)
        if self._bad_loss is not None:
            flags[1].copy_(self._bad_loss)
        flags[2].copy_(~torch.linalg.vector_norm(norms).isfinite())
        if rank_and_world_size()[1] > 1:
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        self.last_check = StepCheck(flags, parameters, norms)
        self._unread.append(self.last_check)
        on_device = (device.type == 'cuda' and not self.guarded) or self.skips_on_device()
        if not on_device or len(self._unread) >= self.check_interval:
            self.read_checks()
        return self.last_check

    def read_checks(self) -> None:
        """Copies the flags of unread checks to the host: the only wait for the device."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        # The scale may cause infinite gradients; then the scaler lowers it by itself.
        scaler_copes = getattr(self, '_scale_update_param', None) is None and self.scale > 1
        rows = torch.stack([check.flags for check in unread]).tolist()
        for check, (end, bad_loss, bad_gradient) in zip(unread, rows, strict=True):
            self.end_agreed |= bool(end)
            check.bad = bool(bad_loss or (bad_gradient and not scaler_copes))

    def _clip_grad(self) -> None:
        """Clips without waiting for the norm, unlike MMEngine's."""
        parameters = [p for p in self._parameters() if p.grad is not None]
        norm = self.clip_func(parameters, **self.clip_grad_kwargs) if parameters else None
        if norm is not None:  # `clip_grad_value_` gives none
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            self.message_hub.update_scalar(f'train/{self.grad_name}', norm)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state, but keeps how this run's optimizer computes (fused or not)."""
        state_dict = dict(state_dict)
        if not state_dict.get('loss_scaler'):  # a scaler that was switched off has no state
            state_dict.pop('loss_scaler', None)
        own, saved = self.optimizer.param_groups, state_dict['param_groups']
        if len(own) == len(saved):  # else the optimizer raises an error
            how = [{k: g[k] for k in ('foreach', 'fused') if k in g} for g in own]
            state_dict['param_groups'] = [g | mine for g, mine in zip(saved, how, strict=True)]
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
class GuardedAmpOptimWrapper(GuardedOptimWrapper, AmpOptimWrapper):
    """MMEngine's mixed precision with the guard, and without a scaler for bfloat16.

    Args:
        loss_scale: 'dynamic', a fixed factor or options of `GradScaler`.
        dtype: Data type of the forward pass. For bfloat16, `choose_precision` takes `BFloat16OptimWrapper` instead.
        kwargs: The other arguments of `AmpOptimWrapper`.
    """

    def __init__(
        self, loss_scale: Any = 'dynamic', dtype: str | torch.dtype = 'float16', **kwargs: Any
    ) -> None:
        if dtype in ('bfloat16', torch.bfloat16):
            loss_scale = dict(enabled=False)
        super().__init__(dtype=dtype, loss_scale=loss_scale, **kwargs)
