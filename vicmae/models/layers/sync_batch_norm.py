# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Batch norm over all ranks. B batch, D width, L length, W ranks."""

import torch
from torch import Tensor, nn

from vicmae.utils.distributed import rank_and_world_size, sum_over_ranks


class SyncBatchNorm1d(nn.BatchNorm1d):
    """Normalises like `nn.BatchNorm1d`, with training statistics over the samples of all ranks, on any device.

    Unlike `nn.SyncBatchNorm`, it needs no GPU. Arguments, state-dict names and running statistics are those of
    `nn.BatchNorm1d`, and so are results in evaluation or on one process. Ranks may have different numbers of samples.

    Shape:
        (B, D) or (B, D, L) -> the same
    """

    def forward(self, input: Tensor) -> Tensor:
        _, world_size = rank_and_world_size()
        if not self.training or world_size == 1:
            return super().forward(input)
        self._check_input_dim(input)
        with torch.autocast(input.device.type, enabled=False):
            features = input.to(torch.promote_types(input.dtype, torch.float32)).movedim(1, -1)
            deviation, variance, mean, count = _deviation_over_ranks(features)  # (B, [L,] D), (D,)
            self._update_running(mean.detach(), variance.detach() * count / (count - 1))
            output = deviation * (variance + self.eps).rsqrt()
            if self.weight is not None:
                output = output * self.weight
            if self.bias is not None:
                output = output + self.bias
        return output.movedim(-1, 1).to(input.dtype)

    def _update_running(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        running_mean, running_var = self.running_mean, self.running_var
        if running_mean is None or running_var is None or self.num_batches_tracked is None:
            return  # track_running_stats=False
        self.num_batches_tracked.add_(1)
        # Without momentum, average over all batches.
        new = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        running_mean.lerp_(mean.to(running_mean.dtype), new)
        running_var.lerp_(unbiased_variance.to(running_var.dtype), new)


def _deviation_over_ranks(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes deviations from the mean over all ranks, variance, mean, and the number of values per channel."""
    # First the mean, then the variance, since E[x^2] - E[x]^2 loses precision.
    dims = tuple(range(features.ndim - 1))
    local_count = features.new_tensor([features.numel() // features.shape[-1]])
    sums = sum_over_ranks(torch.cat([features.sum(dim=dims), local_count]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    deviation = features - mean
    return deviation, sum_over_ranks(deviation.square().sum(dim=dims)) / count, mean, count
