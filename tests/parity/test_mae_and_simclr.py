# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The configs of MAE and SimCLR have these methods' arithmetic, losses and gradients."""

import numpy as np
import pytest
import torch

from vicmae.apis import load_config
from vicmae.config.paths import project_file
from vicmae.registry import MODELS
from vicmae.testing import randomize

from .compare import directional_errors, gradients_of, weights_of
from .reference import Method, mae_loss, simclr_loss

ARCH = dict(embed_dims=24, num_layers=2, num_heads=4, feedforward_channels=40)
BATCH = 5


def build(path, **sizes):
    cfg = load_config(project_file(f'configs/{path}'))
    cfg.model.backbone.update(arch=ARCH, img_size=(16, 24), patch_size=4)
    for part, values in sizes.items():
        cfg.model[part].update(values)
    return randomize(MODELS.build(cfg.model)).train()


def draw_views(number):
    colors = torch.randn(BATCH, 3, 1, 1)
    return [colors + torch.randn(BATCH, 3, 16, 24) for _ in range(number)]


def as_arrays(views):
    return [view.double().numpy() for view in views]


def assert_same_gradients(model, total, loss_of, without_gradient=()):
    gradients = gradients_of(model, total)
    for name in without_gradient:  # zero but for rounding
        assert np.linalg.norm(gradients.pop(name)) <= 1e-5 * np.linalg.norm(
            gradients[name.replace('bias', 'weight')]
        )
    errors = directional_errors(gradients, loss_of, weights_of(model))
    assert {name: error for name, error in errors.items() if not error <= 1e-5} == {}


@pytest.mark.parametrize('num_views', [1, 2])
@pytest.mark.parametrize('norm_pix', [True, False])
def test_mae(num_views, norm_pix):
    model = build(
        'mae/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py',
        neck=dict(embed_dim=16, depth=2, num_heads=2),
        reconstruction=dict(norm_pix=norm_pix),
    )
    views, noise = draw_views(num_views), torch.rand(num_views * BATCH, 24)
    model.backbone.masking.noise = lambda *_: noise
    method = Method(num_heads=4, decoder_num_heads=2, mask_ratio=0.75, norm_pix=norm_pix)
    images, own_noise = np.concatenate(as_arrays(views)), noise.double().numpy()

    def loss_of(weights):
        return mae_loss(weights, images, own_noise, method)

    total, _ = model.parse_losses(model.loss(views))
    assert total.item() == pytest.approx(loss_of(weights_of(model)), rel=1e-5)
    assert_same_gradients(model, total, loss_of)


def test_simclr():
    model = build(
        'simclr/simclr_vit-base-p16_8xb512-amp-coslr-300e_in1k-k400.py',
        projector=dict(hidden_dim=32, out_dim=12),
    )
    views = draw_views(2)
    arrays, method = as_arrays(views), Method(num_heads=4)

    def loss_of(weights):
        return simclr_loss(weights, arrays, method)

    total, _ = model.parse_losses(model.loss(views))
    assert total.item() == pytest.approx(loss_of(weights_of(model)), rel=1e-5)
    # What adds the same to every row is taken away again by batch norm.
    same_for_all = ('norm.bias', 'projector.0.bias', 'projector.3.bias')
    assert_same_gradients(model, total, loss_of, same_for_all)
