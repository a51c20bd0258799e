# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from vicmae.engine.optimizers import CheckedOptimWrapperConstructor
from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import toy_runner, toy_vicmae_config


def build(model, **paramwise):
    constructor = CheckedOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05)),
        paramwise_cfg=paramwise,
    )
    return constructor(model)


def settings(wrapper, model):
    """Learning rate and weight decay of each trained parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def test_pattern_that_matches_no_parameter_is_refused_with_the_names():
    model = MODELS.build(toy_vicmae_config())
    with pytest.raises(ConfigError, match="has 'projector', .* begin with: backbone, neck, predic"):
        build(model, custom_keys={'backbone': dict(lr_mult=0.5), 'projector': dict(lr_mult=2)})


def test_patterns_and_rules_reach_the_parameters_that_they_name():
    model = MODELS.build(toy_vicmae_config())
    wrapper = build(
        model,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'cls_token': dict(decay_mult=0.0), 'neck': dict(lr_mult=0.5)},
    )
    found = settings(wrapper, model)
    assert found['backbone.layers.0.attn.qkv.weight'] == (0.1, 0.05)
    assert found['backbone.layers.0.attn.qkv.bias'] == (0.1, 0)
    assert found['backbone.layers.0.ln1.weight'] == (0.1, 0)
    assert found['backbone.cls_token'] == (0.1, 0)
    assert found['neck.decoder_pred.weight'] == (0.05, 0.05)


def test_vectors_and_tokens_can_be_without_weight_decay():
    config = {**toy_vicmae_config(), 'aggregator': dict(type='AttentionPooling', num_heads=2)}
    model = MODELS.build(config)
    found = settings(build(model, flat_decay_mult=0.0), model)
    tokens = {'backbone.cls_token', 'neck.mask_token', 'aggregator.query'}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and name not in tokens
            assert found[name] == (0.1, 0.05 if decayed else 0), name


def test_pattern_for_a_token_overrides_the_rule_for_vectors():
    model = MODELS.build(toy_vicmae_config())
    wrapper = build(model, flat_decay_mult=0.0, custom_keys={'mask_token': dict(lr_mult=0.5)})
    found = settings(wrapper, model)
    assert found['neck.mask_token'] == (0.05, 0.05)
    assert found['backbone.cls_token'] == (0.1, 0)


def test_every_trained_parameter_is_optimised_once_and_fixed_ones_are_not_moved():
    model = MODELS.build(toy_vicmae_config())
    wrapper = build(model, custom_keys={'neck': dict(lr_mult=0.5)})
    parameters = [p for group in wrapper.optimizer.param_groups for p in group['params']]
    assert len({id(p) for p in parameters}) == len(parameters)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in parameters}
    before = model.backbone.pos_embed.clone()
    wrapper.update_params(sum(p.sum() for p in model.parameters() if p.requires_grad))
    assert torch.equal(model.backbone.pos_embed, before)


def test_log_says_in_one_line_what_is_trained(tmp_path):
    runner = toy_runner(tmp_path)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[1].weight.requires_grad = False
    build(model, bias_decay_mult=0.0)
    (log,) = tmp_path.glob('*/*.log')
    text = log.read_text()
    assert '10 parameters are trained, 6 of them with weight decay; 3 are fixed.' in text
    assert 'paramwise_options' not in text
    runner.logger.info('paramwise_options are back')
    assert 'paramwise_options are back' in log.read_text()


def test_config_names_it(tmp_path):
    toy_runner(tmp_path)  # sets the scope, as a run does
    model = MODELS.build(toy_vicmae_config())
    cfg = dict(
        optimizer=dict(type='SGD', lr=1.0),
        constructor='CheckedOptimWrapperConstructor',
        paramwise_cfg=dict(custom_keys={'bakcbone': dict(lr_mult=0)}),
    )
    with pytest.raises(ConfigError, match="has 'bakcbone'"):
        build_optim_wrapper(model, cfg)
