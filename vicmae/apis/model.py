# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads a model without a Runner."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModule

from vicmae.checkpoints.fit import load_weights
from vicmae.checkpoints.read import find_weights, load_checkpoint_file
from vicmae.config.load import load_config
from vicmae.config.stored import read_stored_config
from vicmae.registry import MODELS


def load_model(
    config: str | Path | Config | None = None,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> Any:
    """Builds the model of a config in evaluation mode, with the weights of a checkpoint.

    Args:
        config: Path or name of a config, or a loaded one. None for the one that the checkpoint stores, which is read
            without running it.
        checkpoint: Path of the weights; no code in it is run. None for random weights.
        device: Device of the model.
        seed: Seed of random weights.

    Examples:
        >>> model = load_model('vicmae_vit-tiny-p8_debug')
        >>> model.extract_feat(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 64])
    """
    if config is None and checkpoint is None:
        raise ValueError('`load_model` needs a `config`, a `checkpoint` that stores one, or both.')
    content = None if checkpoint is None else load_checkpoint_file(checkpoint)
    source = repr(str(checkpoint))
    if config is None:
        cfg = read_stored_config(content, source)
    else:
        cfg = config if isinstance(config, Config) else load_config(config)
    with torch.random.fork_rng(devices=[]):  # building draws, too
        model = MODELS.build(cfg.model)
    if content is None:
        draw_weights(model, seed)
    else:
        load_weights(model, find_weights(content, source)[0], source=source)
    return model.to(device).eval()


def draw_weights(model: Any, seed: int) -> None:
    """Draws random weights that depend on the seed alone, and for the backbone not on the parts around it."""
    with torch.random.fork_rng(devices=[]):
        if isinstance(getattr(model, 'backbone', None), BaseModule):
            torch.manual_seed(seed)
            model.backbone.init_weights()  # which MMEngine then leaves as it is
        torch.manual_seed(seed)
        model.init_weights()
