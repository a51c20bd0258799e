# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained model in two lines."""

import pytest
import torch

from vicmae.apis import load_config, load_model
from vicmae.config.paths import project_file
from vicmae.errors import CheckpointError

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
PROBES = project_file('configs/vicmae/benchmarks/vicmae_vit-tiny-p8_probes_debug.py')


def states_differ(one, other):
    a, b = one.state_dict(), other.state_dict()
    return [key for key in a if not torch.equal(a[key], b[key])]


def test_random_weights_depend_only_on_the_seed():
    first = load_model(DEBUG, seed=1)
    torch.rand(7)
    assert not states_differ(first, load_model(DEBUG, seed=1))
    assert states_differ(first, load_model(DEBUG, seed=2))


def test_loading_keeps_the_random_state():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_model(DEBUG, seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_model_is_in_evaluation_mode():
    assert not any(module.training for module in load_model(DEBUG).modules())


@pytest.mark.parametrize('form', ['runner', 'plain', 'ddp'])
def test_weights_of_every_usual_checkpoint_format_load(tmp_path, form):
    trained = load_model(DEBUG, seed=3)
    state = trained.state_dict()
    saved = {
        'runner': {'state_dict': state, 'meta': {'epoch': 2}},
        'plain': state,
        'ddp': {'state_dict': {f'module.{key}': value for key, value in state.items()}},
    }[form]
    torch.save(saved, tmp_path / 'a.pth')
    loaded = load_model(load_config(DEBUG), tmp_path / 'a.pth')
    assert not states_differ(loaded, trained)
    frames = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.extract_feat(frames), trained.extract_feat(frames))


def test_checkpoint_of_another_model_is_refused_with_its_keys(tmp_path):
    state = load_model(DEBUG).state_dict()
    state['backbone.extra'] = state.pop('backbone.cls_token')
    state['neck.mask_token'] = torch.zeros(1, 1, 7)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError) as refused:
        load_model(DEBUG, tmp_path / 'a.pth')
    message = str(refused.value)
    assert f"'{tmp_path}/a.pth' does not fit the model" in message
    assert '1 missing from the checkpoint: backbone.cls_token' in message
    assert '1 unknown to the model: backbone.extra' in message
    assert '1 of another shape: neck.mask_token (1, 1, 7) instead of (1, 1, 32)' in message


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="The checkpoint '.*no.pth' does not exist"):
        load_model(DEBUG, tmp_path / 'no.pth')


def test_random_backbone_depends_only_on_the_seed():
    pretraining, probes = load_model(DEBUG, seed=3), load_model(PROBES, seed=3)
    weights, others = pretraining.backbone.state_dict(), probes.backbone.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    again = load_model(DEBUG, seed=4).backbone.state_dict()
    assert not torch.equal(again['cls_token'], weights['cls_token'])
