# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Models so small that a test can afford them."""

from typing import Any

import torch
from torch import nn


def toy_vicmae_config(norm: str | None = 'BN') -> dict[str, Any]:
    """Returns the config of a `ViCMAE` for images of 16 x 16 in 16 patches, of which 4 are visible.

    Args:
        norm: Norm of the predictor's and the target's head. 'BN' and 'SyncBN' couple the samples of a batch.
    """
    head = dict(type='MLPHead', hidden_dim=16, out_dim=8, norm=norm)
    return dict(
        type='ViCMAE',
        data_preprocessor=dict(type='ViewPreprocessor'),
        backbone=dict(
            type='MaskedViT',
            arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
            img_size=16,
            patch_size=4,
            masking=dict(type='RandomMasking', mask_ratio=0.75),
        ),
        neck=dict(type='MAEDecoder', embed_dim=8, depth=1, num_heads=2),
        aggregator=dict(type='MeanPooling'),
        predictor=head,
        target=dict(type='SharedTarget', head=dict(head)),
        head=dict(
            type='ViCMAEHead',
            reconstruction=dict(type='PixelReconstructionLoss'),
            contrastive=dict(type='InfoNCELoss'),
        ),
    )


def toy_video_mae_config(method: str = 'VideoMAE', **backbone: Any) -> dict[str, Any]:
    """Returns the config of a masked autoencoder of clips of 4 x 16 x 16 in 2 x 4 x 4 patches.

    Args:
        method: Its type.
        backbone: What is other than in VideoMAE.
    """
    toy = toy_vicmae_config()
    settings = dict(
        num_frames=4,
        tubelet_size=2,
        pos_embed_type='sinusoid',
        with_cls_token=False,
        masking=dict(type='TubeMasking', mask_ratio=0.75),
    )
    return dict(
        {name: toy[name] for name in ('data_preprocessor', 'neck', 'aggregator')},
        type=method,
        backbone={**toy['backbone'], **settings, **backbone},
        reconstruction=dict(type='PixelReconstructionLoss', norm_pix='channel'),
    )


def toy_transfer_config(**changes: Any) -> dict[str, Any]:
    """Returns the config of a `TransferClassifier` of four classes, with the backbone of `toy_vicmae_config`.

    Args:
        changes: What is other than there, at the top level.
    """
    backbone = {k: v for k, v in toy_vicmae_config()['backbone'].items() if k != 'masking'}
    config = dict(
        type='TransferClassifier',
        data_preprocessor=dict(type='LabelledPreprocessor'),
        backbone=backbone,
        aggregator=dict(type='MeanPooling'),
        head=dict(type='TransferHead', num_classes=4),
    )
    return {**config, **changes}


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Adds noise to every trained parameter, so that no bias or token that begins at zero hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return module
