# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from torch import nn


def init_linear_layers(module: nn.Module) -> None:
    """Initialises the weights of all linear layers Xavier-uniformly and their biases with zero, as in MAE."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
