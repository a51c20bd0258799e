# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Optimiser wrappers whose `step()` skips what is not finite, on all ranks alike."""

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
    """What was found before a step of the optimiser.

    Attributes:
        flags: 1 or 0 on any rank: whether the run is to end, a loss is not finite, a gradient is not finite.
        parameters: Those with a gradient on this rank.
        norms: Norms of these gradients, or of this rank's part of them.
        bad: Whether the step is skipped; None until the host knows.
    """

    flags: Tensor
    parameters: list[nn.Parameter]
    norms: Tensor
    bad: bool | None = None


@OPTIM_WRAPPERS.register_module(name='OptimWrapper')
class GuardedOptimWrapper(OptimWrapper):
    """MMEngine's wrapper that skips a step whose losses or gradients are not finite on any rank.

    Weights, the optimiser's state and the model's buffers stay as they are then. Where `skips_on_device`, the device
    does that without the host, which reads the flags every `check_interval` steps; elsewhere the host decides at each
    step. `StepGuardHook` switches the guard on, counts and records; without it, every step is taken.

    For a wrapper with a `step` of its own, derive from this class first: `class Mine(GuardedOptimWrapper, Theirs)`.

    Attributes:
        guarded: Whether steps are checked.
        check_interval: After how many steps the host reads what the device decided.
        asked_to_end: Whether this rank wants the run to end. All ranks learn it with the flags of a step.
        end_agreed: Whether a rank does, as far as the host has read.
        last_check: Of the last step.
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
        """MMEngine's, where a run begins or goes back; nothing of steps before it is left."""
        super().initialize_count_status(*args, **kwargs)
        self._forget()

    @property
    def scale(self) -> float:
        """What losses are multiplied with before they go backward."""
        return self.loss_scaler.get_scale() if self._scales() else 1.0

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group['params']]

    def _scales(self) -> bool:
        scaler = getattr(self, 'loss_scaler', None)
        return scaler is not None and scaler.is_enabled()

    def skips_on_device(self) -> bool:
        """Whether the device can skip a step by itself: on a GPU, with a fused optimiser, without a scaler.

        Not SGD with momentum: where its first step is skipped, torch's fused one keeps moments that it never wrote.
        """
        return (
            not self._scales()
            and self._parameters()[0].device.type == 'cuda'
            and getattr(self.optimizer, '_step_supports_amp_scaling', False)
            and all(g.get('fused') and not g.get('momentum') for g in self.optimizer.param_groups)
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the forward pass runs; running means are kept as they were before a step's first."""
        if self.guarded and model.training and self._bad_loss is None:
            self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        with super().optim_context(model):
            yield

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """MMEngine's; it also notes whether the loss is finite."""
        bad = ~loss.detach().isfinite().all()
        self._bad_loss = bad if self._bad_loss is None else self._bad_loss | bad
        super().update_params(loss, *args, **kwargs)

    def pass_over(self) -> None:
        """Counts an iteration that trains nothing."""
        self._inner_count += 1
        if self.should_update():  # of a step that began before the range, nothing is left
            self.zero_grad()
            self._buffers, self._bad_loss = [], None
            self._check([])

    def step(self, **kwargs: Any) -> None:
        """Steps, unless a rank has a loss or gradient that is not finite."""
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
        """Steps where `bad` is 0: torch's protocol between `GradScaler` and a fused optimiser."""
        optimizer: Any = self.optimizer
        optimizer.found_inf, optimizer.grad_scale = bad, None
        try:
            super().step(**kwargs)
        finally:
            del optimizer.found_inf, optimizer.grad_scale
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(bad > 0, before, buffer))

    def _check(self, parameters: list[nn.Parameter]) -> StepCheck:
        """Looks at losses and gradients, with all ranks in one small all-reduce."""
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
        """Brings what is known of steps so far to the host: the only wait for the device."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        # Infinite gradients may come of the scale alone, which the scaler lowers then by itself.
        scaler_copes = getattr(self, '_scale_update_param', None) is None and self.scale > 1
        rows = torch.stack([check.flags for check in unread]).tolist()
        for check, (end, bad_loss, bad_gradient) in zip(unread, rows, strict=True):
            self.end_agreed |= bool(end)
            check.bad = bool(bad_loss or (bad_gradient and not scaler_copes))

    def _clip_grad(self) -> None:
        """MMEngine's, without a wait for the norm."""
        parameters = [p for p in self._parameters() if p.grad is not None]
        norm = self.clip_func(parameters, **self.clip_grad_kwargs) if parameters else None
        if norm is not None:  # `clip_grad_value_` gives none
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            self.message_hub.update_scalar(f'train/{self.grad_name}', norm)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; how the optimiser computes (fused or not) is a matter of this run, not of that one."""
        state_dict = dict(state_dict)
        if not state_dict.get('loss_scaler'):  # a scaler that was switched off has no state
            state_dict.pop('loss_scaler', None)
        own, saved = self.optimizer.param_groups, state_dict['param_groups']
        if len(own) == len(saved):  # else the optimiser says what doesn't fit
            how = [{k: g[k] for k in ('foreach', 'fused') if k in g} for g in own]
            state_dict['param_groups'] = [g | mine for g, mine in zip(saved, how, strict=True)]
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
class GuardedAmpOptimWrapper(GuardedOptimWrapper, AmpOptimWrapper):
    """MMEngine's mixed precision with the guard; bfloat16 has no scaler.

    Args:
        loss_scale: 'dynamic', a fixed factor or options of `GradScaler`.
        dtype: What to compute in. `choose_precision` gives bfloat16 to `BFloat16OptimWrapper` instead.
        kwargs: The other arguments of `AmpOptimWrapper`.
    """

    def __init__(
        self, loss_scale: Any = 'dynamic', dtype: str | torch.dtype = 'float16', **kwargs: Any
    ) -> None:
        if dtype in ('bfloat16', torch.bfloat16):
            loss_scale = dict(enabled=False)
        super().__init__(dtype=dtype, loss_scale=loss_scale, **kwargs)
