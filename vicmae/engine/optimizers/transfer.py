# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from vicmae.errors import ConfigError
from vicmae.registry import OPTIM_WRAPPER_CONSTRUCTORS
from vicmae.utils.distributed import unwrapped

from .constructor import CheckedOptimWrapperConstructor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TransferOptimWrapperConstructor(CheckedOptimWrapperConstructor):
    """Gives layers near the pixels a smaller learning rate, and leaves frozen parameters out of the optimiser.

    The rate of a parameter is multiplied by `layer_decay_rate` once for each step between its layer and the head
    (BEiT, https://arxiv.org/abs/2106.08254, as MAE fine-tunes): with L layers, the head has the full rate, layer i
    of 0..L-1 the rate times decay^(L - i), the patch embedding and class token times decay^(L + 1). Positions along
    time, which a model of images doesn't have and which begin at zero, are as new as the head, and have its rate. What
    a pattern in `custom_keys` says (`lr_mult`) comes on top.

    A schedule keeps these ratios where it multiplies: take `eta_min_ratio`, and not `eta_min`.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        # Without any rule MMEngine takes all parameters as one group; with one, only those that aren't frozen.
        self.paramwise_cfg = {'layer_decay_rate': 1.0, **(self.paramwise_cfg or {})}
        decay = self.paramwise_cfg['layer_decay_rate']
        if not 0 < decay <= 1:
            raise ConfigError(
                f'`optim_wrapper.paramwise_cfg.layer_decay_rate` must be in (0, 1], got {decay}. 1 is no decay.'
            )
        inner: Any = unwrapped(model)
        if decay < 1 and not hasattr(inner, 'get_layer_depth'):
            raise ConfigError(
                f'{type(inner).__name__} has no `get_layer_depth`, which `layer_decay_rate` needs.'
            )
        if not any(p.requires_grad for p in inner.parameters()):
            raise ConfigError(
                f'All parameters of {type(inner).__name__} are frozen: nothing to train.'
            )
        return super().__call__(model)

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Appends one group for each trained parameter of a module, and of those in it."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:  # of a module within the model: its groups are among the model's
            return
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        decay = self.paramwise_cfg['layer_decay_rate']
        if decay == 1:
            return
        model: Any = module
        for group in params:
            depth, depths = model.get_layer_depth(names[id(group['params'][0])])
            group['lr'] = group.get('lr', self.base_lr) * decay ** (depths - depth - 1)
