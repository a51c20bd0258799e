# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained model in two lines, outside of any Runner."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModule

from vicmae.checkpoints.fit import load_weights
from vicmae.checkpoints.read import read_weights
from vicmae.config.load import load_config
from vicmae.registry import MODELS


def load_model(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
) -> Any:
    """Builds the model of a config in evaluation mode, with the weights of a checkpoint.

    Only tensors and plain values are read from the checkpoint: no code in it is run.

    Args:
        config: Path or name of a config, or one that is loaded.
        checkpoint: Its weights; None for random ones.
        device: Where the model goes.
        seed: Seed of random weights.

    Example:
        >>> model = load_model('vicmae_vit-tiny-p8_debug')
        >>> model.extract_feat(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 64])
    """
    cfg = config if isinstance(config, Config) else load_config(config)
    with torch.random.fork_rng(devices=[]):  # building draws, too
        model = MODELS.build(cfg.model)
    if checkpoint is None:
        draw_weights(model, seed)
    else:
        load_weights(model, read_weights(checkpoint), source=repr(str(checkpoint)))
    return model.to(device).eval()


def draw_weights(model: Any, seed: int) -> None:
    """Draws random weights that follow from the seed alone: the same ones on each rank, and outside of a run.

    Those of the backbone don't depend on the parts around it: random baselines of two configs are the same.
    """
    with torch.random.fork_rng(devices=[]):
        if isinstance(getattr(model, 'backbone', None), BaseModule):
            torch.manual_seed(seed)
            model.backbone.init_weights()  # which MMEngine then leaves as it is
        torch.manual_seed(seed)
        model.init_weights()
