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
    """Decays the learning rate from the head to the patches, and leaves frozen parameters out of the optimizer.

    With L layers, the learning rate of the head is multiplied by decay^(L - i) for layer i of 0..L-1, and by
    decay^(L + 1) for patch embedding and class token (BEiT, https://arxiv.org/abs/2106.08254, as MAE fine-tunes).
    Positions along time, which are new as the head, have its learning rate, but with `backbone.learn_pos_embed` that of
    the patch embedding. `lr_mult` of `custom_keys` multiplies.

    Use `eta_min_ratio` in a schedule, not `eta_min`, to keep these ratios.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        # Only with a rule does MMEngine leave frozen parameters out.
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
        """Appends a group for each trained parameter of a module and its children."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        decay = self.paramwise_cfg['layer_decay_rate']
        if prefix or decay == 1:  # the call for the whole model sets the groups of all modules
            return
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        model: Any = module
        for group in params:
            depth, depths = model.get_layer_depth(names[id(group['params'][0])])
            group['lr'] = group.get('lr', self.base_lr) * decay ** (depths - depth - 1)
