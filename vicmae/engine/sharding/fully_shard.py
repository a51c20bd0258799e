# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
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
    """Shards weights, gradients and optimizer state over the processes (FSDP2), for models too large for one GPU.

    Losses, updates and checkpoints are those of `MMDistributedDataParallel`. Each transformer layer of encoder, decoder
    and teacher is a unit that is gathered when it is needed; the rest of the model is one more. Choose it with
    `--cfg-options model_wrapper_cfg.type=FullyShard`; in a run of one process it isn't used.

    Weights are drawn before they are sharded. All processes have to evaluate the same number of batches: use samplers
    that round up, as MMEngine's do by default.

    Args:
        module: The model, on the device where it trains.
        reshard_after_forward: Whether a layer is sharded again after the forward pass. If not, it stays whole until its
            backward pass: more memory, less communication.
        mixed_precision: 'bfloat16' or 'float16' for the communication and computation of layers; weights, sums of
            gradients and the rest of the model stay float32. 'float16' needs the loss scaling of `AmpOptimWrapper`.
            None leaves precision to `optim_wrapper`.
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
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        options: dict[str, Any] = dict(
            reshard_after_forward=reshard_after_forward, mp_policy=layer_policy(mixed_precision)
        )
        for layer in [m for m in module.modules() if isinstance(m, TransformerEncoderLayer)]:
            fully_shard(layer, mesh=mesh, **options)
        self.module: Any = fully_shard(module, mesh=mesh)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """MMEngine's training step; only the last of accumulated ones sums gradients over the processes."""
        # Not `no_sync`: MMEngine leaves it before the backward pass, where FSDP would read it.
        self.module.set_requires_gradient_sync(optim_wrapper.should_sync())
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> list:
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        return self.module.test_step(data)


def draw_weights(module: BaseModel) -> None:
    """Draws weights and sends those of the first process to all, as MMEngine does for other models."""
    module.init_weights()
    for value in module.state_dict().values():
        broadcast(value)


def layer_policy(mixed_precision: str | None) -> MixedPrecisionPolicy:
    """Returns the precision of a layer, whose output is float32 for the rest of the model."""
    if mixed_precision is None:
        return MixedPrecisionPolicy()
    dtype = HALVES[mixed_precision]
    return MixedPrecisionPolicy(dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
