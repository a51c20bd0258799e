# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which file, knob or option set a value."""

import pytest

from vicmae.config.load import load_config
from vicmae.config.origins import values_of, values_with_origins
from vicmae.config.paths import find_config

LARGE = 'vicmae_vit-large-p16_8xb512-amp-coslr-800e_in1k-k400'
OVERRIDES = {
    'image_size': 96,
    'train_dataloader.batch_size': 8,
    'optim_wrapper.clip_grad.max_norm': 1,
}


@pytest.fixture(scope='module')
def values():
    return values_with_origins(LARGE, OVERRIDES)


@pytest.mark.parametrize(
    ('key', 'value', 'origin'),
    [
        ('model_size', 'large', f'configs/vicmae/{LARGE}.py'),
        ('model.type', 'ViCMAE', 'configs/_base_/models/'),
        ('train_cfg.max_epochs', 800, 'configs/_base_/schedules/adamw-coslr-800e.py'),
        ('model.backbone.arch', 'large', 'follows model_size'),
        ('val_dataloader.dataset.sources.image_bank.pipeline.1.size', 96, 'follows image_size'),
        ('image_size', 96, '--cfg-options'),
        ('train_dataloader.batch_size', 8, '--cfg-options'),
        ('optim_wrapper.clip_grad.max_norm', 1, '--cfg-options'),
    ],
)
def test_origin_is_what_set_the_value_last(values, key, value, origin):
    assert values[key][0] == value
    assert values[key][1].startswith(origin)


def test_values_are_those_of_the_config_and_each_has_an_origin(values):
    assert {key: value for key, (value, _) in values.items()} == values_of(
        load_config(LARGE, OVERRIDES)
    )
    assert all(origin for _, origin in values.values())


def test_grandchild_of_a_config_outside_of_the_project_is_named_by_path(tmp_path):
    base, child = tmp_path / 'base.py', tmp_path / 'child.py'
    base.write_text(f'_base_ = {str(find_config(LARGE))!r}\ntrain_cfg = dict(max_epochs=7)\n')
    child.write_text("_base_ = 'base.py'\nrandomness = dict(seed=3)\n")
    values = values_with_origins(child)
    assert values['train_cfg.max_epochs'] == (7, str(base))
    assert values['randomness.seed'] == (3, str(child))
    assert values['train_cfg.val_interval'][1].startswith('configs/_base_/schedules/')


def test_keys_are_options_of_the_command_line(values):
    name = 'train_dataloader.dataset.sources.videos.pipeline.1.window_seconds'
    assert values_of(load_config(LARGE, {name: 3.0}))[name] == 3.0 != values[name][0]
