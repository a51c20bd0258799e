# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A model is built from the config in its checkpoint, which is read without running it."""

import pytest
import torch
from mmengine.config import Config

from vicmae.apis import load_config, load_model
from vicmae.config.paths import list_configs, project_file
from vicmae.config.stored import read_stored_config
from vicmae.errors import CheckpointError, ConfigError

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')


def stored(text):
    return read_stored_config(dict(meta=dict(cfg=text)), "'a.pth'")


@pytest.mark.parametrize(
    'config', [c for c in list_configs() if 'debug' in c.stem], ids=lambda c: c.stem
)
def test_stored_text_of_a_config_is_the_config(config):
    cfg = load_config(config)
    assert stored(cfg.pretty_text).model.to_dict() == cfg.model.to_dict()


def test_checkpoint_is_loaded_without_naming_its_config(tmp_path):
    model = load_model(DEBUG, seed=3)
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=load_config(DEBUG).pretty_text))
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_model(checkpoint=tmp_path / 'a.pth')
    assert type(loaded) is type(model) and not loaded.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize('content', [{}, dict(meta={}), dict(meta=dict(cfg=None)), dict(meta=[])])
def test_checkpoint_without_a_config_asks_for_it(content, tmp_path):
    state = load_model(DEBUG).state_dict()
    torch.save(dict(content, state_dict=state), tmp_path / 'a.pth')
    with pytest.raises(
        CheckpointError, match=r"a\.pth' stores no config. Name its .*`--config CONF"
    ):
        load_model(checkpoint=tmp_path / 'a.pth')


def test_unreadable_text_asks_for_the_config():
    with pytest.raises(CheckpointError, match=r"can't be read: .*--config"):
        stored('model = dict(')
    with pytest.raises(CheckpointError, match=r'without a `model` of plain values.*--config'):
        stored('model = build()')


@pytest.mark.parametrize('name', ['os.system', 'antigravity', 'vicmae.os.system', 'subprocess.run'])
def test_type_that_is_not_registered_is_not_imported(name):
    text = Config(dict(model=dict(type='ViCMAE', backbone=dict(type=name)))).pretty_text
    with pytest.raises(ConfigError, match=r"`model.backbone.type` is '.*not registered"):
        stored(text)


def test_config_or_checkpoint_is_needed():
    with pytest.raises(ValueError, match='needs a `config`, a `checkpoint`'):
        load_model()
