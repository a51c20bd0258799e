# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A model of ours beside the NumPy reference: weights by their official names, gradients by differences."""

import re
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from .reference import Arrays

Loss = Callable[[Arrays], float]

# Ours on the left, as regular expressions; what is left of a name stays.
NAMES = [
    (r'^backbone\.ln1\.', 'norm.'),
    (r'^backbone\.layers\.', 'blocks.'),
    (r'^backbone\.', ''),
    (r'^neck\.', ''),
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'blocks\.(\d+)\.ln([12])\.', r'blocks.\1.norm\2.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
]


def official_name(name: str) -> str:
    for ours, official in NAMES:
        name = re.sub(ours, official, name)
    return name


def weights_of(model: nn.Module) -> Arrays:
    return {
        official_name(name): parameter.detach().double().numpy().copy()
        for name, parameter in model.named_parameters()
    }


def gradients_of(model: nn.Module, loss: torch.Tensor) -> Arrays:
    """Gradients of all trained parameters."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()))
    return {
        official_name(name): gradient.double().numpy()
        for name, gradient in zip(trained, gradients, strict=True)
    }


def difference_gradients(loss: Loss, weights: Arrays, names: Iterable[str]) -> Arrays:
    """Gradients by whole arrays, element by element from central differences."""
    step = 1e-6
    gradients = {}
    for name in names:
        array = weights[name].copy()
        moved = {**weights, name: array}
        gradients[name] = np.empty_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = loss(moved)
            array[index] = value - step
            gradients[name][index] = (above - loss(moved)) / (2 * step)
            array[index] = value
    return gradients


def slope(loss: Loss, weights: Arrays, name: str, direction: np.ndarray) -> float:
    """How fast the loss rises as one array moves in a direction."""
    step = 1e-6
    above = loss({**weights, name: weights[name] + step * direction})
    below = loss({**weights, name: weights[name] - step * direction})
    return (above - below) / (2 * step)


def relative_errors(gradients: Arrays, true: Arrays) -> dict[str, float]:
    """Per array, the norm of the difference over the norm of the true gradient."""
    return {
        name: float(np.linalg.norm(gradients[name] - gradient) / np.linalg.norm(gradient))
        for name, gradient in true.items()
    }


def directional_errors(
    gradients: Arrays, loss: Loss, weights: Arrays, num_directions: int = 2
) -> dict[str, float]:
    """Per array, the same from random directions: slopes are off by as much as the gradient, in the mean."""
    rng = np.random.default_rng(0)
    errors = {}
    for name, gradient in gradients.items():
        directions = rng.standard_normal((num_directions, *gradient.shape))
        missed = [(gradient * d).sum() - slope(loss, weights, name, d) for d in directions]
        errors[name] = float(np.sqrt(np.mean(np.square(missed))) / np.linalg.norm(gradient))
    return errors
