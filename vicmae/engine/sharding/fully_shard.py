# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A model whose weights, gradients and optimizer state are sharded over the processes."""

from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import broadcast
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from vicmae.errors import ConfigError
from vicmae.registry import MODEL_WRAPPERS

HALVES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


@MODEL_WRAPPERS.register_module()
class FullyShard(nn.Module):
    """Shards a model over the processes (FSDP2), for one that is too large beside its optimiser on each GPU.

    Losses and updates are those of `MMDistributedDataParallel`, and so are checkpoints. Each transformer layer, of the
    encoder, the decoder and a teacher, is put together when it is needed and taken apart afterwards; what is outside
    of them (patch embedding, tokens, heads) is one unit more. Choose it with
    `--cfg-options model_wrapper_cfg.type=FullyShard`; in a run of one process it isn't used.

    Weights are drawn here, before they are sharded, and all processes get those of the first. All processes have to
    evaluate as many batches: samplers see to it that round up, as MMEngine's do by default, and the loader puts a good
    sample into the place of one that can't be read, which metrics count once.

    Args:
        module: The model, on the device where it trains.
        reshard_after_forward: Whether a layer is taken apart again after the forward pass. Without, it stays together
            until its backward pass: more memory, less to send.
        mixed_precision: 'bfloat16' or 'float16' for layers that are sent, and compute, in that; weights and sums of
            gradients stay float32, and so does all outside of the layers. 'float16' needs the loss scaling of
            `AmpOptimWrapper`. None leaves precision to `optim_wrapper`.
    """

    def __init__(
        self,
        module: BaseModel,
        *,
        reshard_after_forward: bool = True,
        mixed_precision: str | None = None,
    ) -> None:
        super().__init__()
        if mixed_precision is not None and mixed_precision not in HALVES:
            raise ConfigError(
                f"`model_wrapper_cfg.mixed_precision` must be {', '.join(HALVES)} or None, got '{mixed_precision}'."
            )
        self.mixed_precision = mixed_precision
        draw_weights(module)
        device = next(module.parameters()).device
        options: dict[str, Any] = dict(
            mesh=init_device_mesh(device.type, (dist.get_world_size(),)),
        )
        policy = layer_policy(mixed_precision)
        for layer in [m for m in module.modules() if isinstance(m, TransformerEncoderLayer)]:
            fully_shard(
                layer, reshard_after_forward=reshard_after_forward, mp_policy=policy, **options
            )
        self.module: Any = fully_shard(module, **options)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """MMEngine's training step; gradients are summed over the processes in the last of accumulated ones."""
        # No `no_sync`, which MMEngine leaves before the backward pass: there FSDP looks.
        self.module.set_requires_gradient_sync(optim_wrapper.should_sync())
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> list:
        """MMEngine's step of a validation."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """MMEngine's step of a test."""
        return self.module.test_step(data)


def draw_weights(module: BaseModel) -> None:
    """Draws weights as MMEngine's Runner does for a model that isn't sharded: the first process's, for all."""
    module.init_weights()
    for value in module.state_dict().values():
        broadcast(value)


def layer_policy(mixed_precision: str | None) -> MixedPrecisionPolicy:
    """What a layer computes in, with an output for the float32 around it."""
    if mixed_precision is None:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(
        param_dtype=HALVES[mixed_precision],
        reduce_dtype=torch.float32,
        output_dtype=torch.float32,
    )
