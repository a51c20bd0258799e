# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from torch import nn


def init_linear_layers(module: nn.Module) -> None:
    """Draws the weights of all linear layers Xavier-uniformly and sets their biases to zero, as MAE does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
