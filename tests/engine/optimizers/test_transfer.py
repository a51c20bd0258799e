# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.optim import CosineAnnealingLR
from torch import nn

from vicmae.engine.optimizers import TransferOptimWrapperConstructor
from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import toy_transfer_config


def build(model, **paramwise):
    config = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05))
    return TransferOptimWrapperConstructor(config, paramwise_cfg=paramwise or None)(model)


def groups_of(wrapper, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: g for g in wrapper.optimizer.param_groups for p in g['params']}


def steps_to_the_head(name, num_layers):
    """How many layers a parameter is away from the head, by its name."""
    if name.startswith('backbone.layers.'):
        return num_layers - int(name.split('.')[2])
    if name in ('backbone.cls_token', 'backbone.pos_embed') or 'patch_embed' in name:
        return num_layers + 1
    return 0


def test_learning_rate_of_a_parameter_is_the_base_times_a_power_of_the_decay():
    model = MODELS.build(
        toy_transfer_config(head=dict(type='TransferHead', num_classes=4, norm='LN'))
    )
    found = groups_of(build(model, layer_decay_rate=0.65, flat_decay_mult=0.0), model)
    assert set(found) == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, group in found.items():
        assert group['lr'] == pytest.approx(0.1 * 0.65 ** steps_to_the_head(name, 2)), name
        vector = model.get_parameter(name).ndim == 1 or name == 'backbone.cls_token'
        assert group['weight_decay'] == (0 if vector else 0.05), name


@pytest.mark.parametrize('kind', ['separable', 'joint'])
def test_time_positions_have_the_learning_rate_of_the_head(kind):
    config = toy_transfer_config()
    config['backbone'].update(num_frames=4, tubelet_size=2, pos_embed_type=kind)
    model = MODELS.build(config)
    rules = dict(layer_decay_rate=0.5, custom_keys={'pos_embed': dict(decay_mult=0.0)})
    found = groups_of(build(model, **rules), model)
    (name,) = [name for name in found if 'pos_embed' in name]
    assert (found[name]['lr'], found[name]['weight_decay']) == (0.1, 0)
    assert found['backbone.layers.0.attn.qkv.weight']['weight_decay'] == 0.05


def test_patterns_multiply_with_the_layer_decay():
    model = MODELS.build(toy_transfer_config())
    rules = dict(custom_keys={'patch_embed': dict(lr_mult=0.5)}, layer_decay_rate=0.5)
    found = groups_of(build(model, **rules), model)
    assert found['backbone.patch_embed.projection.weight']['lr'] == pytest.approx(0.1 * 0.5**4)


def test_schedule_with_a_minimal_share_keeps_the_ratios():
    model = MODELS.build(toy_transfer_config())
    wrapper = build(model, layer_decay_rate=0.5)
    schedule = CosineAnnealingLR(wrapper.optimizer, T_max=4, eta_min_ratio=0.01, by_epoch=False)
    for _ in range(4):
        wrapper.optimizer.step()
        schedule.step()
    found = groups_of(wrapper, model)
    for name, group in found.items():
        expected = 0.01 * 0.1 * 0.5 ** steps_to_the_head(name, 2)
        assert group['lr'] == pytest.approx(expected), name


@pytest.mark.parametrize('paramwise', [{}, dict(layer_decay_rate=0.9), dict(bias_decay_mult=0.0)])
def test_frozen_parameters_are_left_out_with_and_without_rules(paramwise):
    model = MODELS.build(toy_transfer_config(freeze_backbone=True))
    assert set(groups_of(build(model, **paramwise), model)) == {'head.fc.weight', 'head.fc.bias'}


def test_lars_excludes_the_bias_as_configured():
    model = MODELS.build(toy_transfer_config(freeze_backbone=True))
    constructor = TransferOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='mmpretrain.LARS', lr=2.0, momentum=0.9)),
        paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(lars_exclude=True)}),
    )
    wrapper = constructor(model)
    weight, bias = model.head.fc.weight, model.head.fc.bias
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    before = weight.detach().clone(), bias.detach().clone()
    wrapper.optimizer.step()
    rate = 2.0 * 0.001 * before[0].norm() / weight.grad.norm()
    torch.testing.assert_close(weight, before[0] - rate)
    torch.testing.assert_close(bias, before[1] - 2.0)


@pytest.mark.parametrize('decay', [0, 1.5, -0.5])
def test_decay_outside_zero_to_one_is_refused(decay):
    model = MODELS.build(toy_transfer_config())
    with pytest.raises(ConfigError, match=rf'layer_decay_rate. must be in \(0, 1\], got {decay}'):
        build(model, layer_decay_rate=decay)


def test_model_without_layers_or_trained_parameters_is_refused():
    with pytest.raises(ConfigError, match='Linear has no .get_layer_depth'):
        build(nn.Linear(2, 2), layer_decay_rate=0.5)
    with pytest.raises(ConfigError, match='nothing to train'):
        build(nn.Linear(2, 2).requires_grad_(False))
