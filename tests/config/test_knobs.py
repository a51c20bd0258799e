# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One value for picture size, patch size, frames and model size, wherever it is set."""

import inspect

import pytest
from mmengine.config import Config

from vicmae.config.check import built_nodes, find_type
from vicmae.config.knobs import KNOBS, follow_knobs
from vicmae.config.load import load_config
from vicmae.config.paths import find_config
from vicmae.errors import ConfigError

BASE = 'vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400'
KNOB_VALUES = dict(image_size=96, patch_size=8, num_frames=4, model_size='tiny')


def write(folder, name, text, **values):
    path = folder / f'{name}.py'
    path.write_text(text + ''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    return str(path)


def without_knobs(cfg):
    return {key: value for key, value in cfg.to_dict().items() if key not in KNOBS}


def without_scopes(node):
    """A config without the `_scope_` that MMEngine adds where a base is named by package."""
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    return [without_scopes(item) for item in node] if isinstance(node, list) else node


def stated(cfg, argument):
    """The values of an argument anywhere in a config."""
    return {node[argument] for _, node, _ in built_nodes(cfg._cfg_dict) if argument in node}


def test_child_grandchild_and_override_give_the_same_config(tmp_path):
    root = f"_base_ = 'vicmae::vicmae/{BASE}.py'\n"
    child = load_config(write(tmp_path, 'child', root, **KNOB_VALUES)).to_dict()
    write(tmp_path, 'middle', root, image_size=32, model_size='small')
    path = write(tmp_path, 'grandchild', "_base_ = 'middle.py'\n", **KNOB_VALUES)
    grandchild = load_config(path).to_dict()
    overridden = load_config(BASE, KNOB_VALUES).to_dict()
    assert without_scopes(child) == without_scopes(grandchild) == without_scopes(overridden)


def test_every_part_follows():
    cfg = load_config(BASE, KNOB_VALUES)
    assert stated(cfg, 'size') == {96}
    assert (cfg.model.backbone.img_size, cfg.model.backbone.patch_size) == (96, 8)
    assert cfg.model.backbone.arch == 'tiny'
    assert cfg.model.neck.embed_dim == 128
    assert cfg.model.predictor.hidden_dim == cfg.model.target.head.hidden_dim == 1024
    assert stated(cfg, 'num_frames') == {1, 4}  # the backbone encodes single frames


def test_clips_of_a_transfer_config_follow():
    cfg = load_config('vicmae_vit-tiny-p8_finetune-video_debug', dict(num_frames=2, image_size=32))
    assert cfg.model.backbone.num_frames == 2
    assert stated(cfg, 'clip_len') == {2}
    assert stated(cfg, 'size') == {32} == {cfg.model.backbone.img_size}


def test_explicit_value_overrides_the_knob(tmp_path):
    text = f"_base_ = 'vicmae::vicmae/{BASE}.py'\nmodel = dict(neck=dict(embed_dim=64))\n"
    cfg = load_config(write(tmp_path, 'own', text, model_size='tiny'))
    assert cfg.model.neck.embed_dim == 64
    assert cfg.model.neck.depth == 4


def test_without_load_config_classes_have_the_defaults_of_the_base():
    plain = Config.fromfile(find_config(BASE))
    followed = load_config(BASE)
    for parents, node, cls in built_nodes(followed._cfg_dict):
        original = plain
        for key in parents:
            original = original[int(key)] if isinstance(original, (list, tuple)) else original[key]
        for argument in set(node) - set(original):
            default = inspect.signature(cls).parameters[argument].default
            assert default == node[argument], (parents, argument)


def test_config_written_by_a_run_follows_overrides_again(tmp_path):
    path = tmp_path / 'dumped.py'
    load_config(BASE, KNOB_VALUES).dump(path)
    again = load_config(path, dict(image_size=160, patch_size=16, model_size='small'))
    expected = load_config(
        BASE, dict(image_size=160, patch_size=16, num_frames=4, model_size='small')
    )
    assert without_knobs(again) == without_knobs(expected)


def test_child_of_a_config_written_by_a_run_follows_as_an_override_does(tmp_path):
    load_config(BASE).dump(tmp_path / 'dumped.py')
    child = load_config(write(tmp_path, 'child', "_base_ = 'dumped.py'\n", **KNOB_VALUES))
    assert child.to_dict() == load_config(tmp_path / 'dumped.py', KNOB_VALUES).to_dict()
    assert stated(child, 'size') == {96}


def test_value_that_equals_a_knob_by_chance_does_not_follow_it(tmp_path):
    path = write(tmp_path, 'own', f"_base_ = 'vicmae::vicmae/{BASE}.py'\n", num_frames=1)
    assert load_config(path, dict(num_frames=8)).model.backbone.num_frames == 1


def test_override_equal_to_the_value_of_the_config_is_accepted(tmp_path):
    load_config(BASE).dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py', dict(image_size=224, num_frames=8))
    assert again.to_dict() == load_config(BASE).to_dict()


def test_knob_that_changes_nothing_is_refused(tmp_path):
    text = (
        'image_size = 64\n'
        "model = dict(type='FrozenFeatures', backbone=dict(type='MaskedViT', img_size=32))\n"
    )
    with pytest.raises(
        ConfigError, match=r'image_size=96.*changes nothing.*model.backbone.img_size'
    ):
        load_config(write(tmp_path, 'own', text), dict(image_size=96))


def test_unknown_size_is_refused_with_the_choices():
    with pytest.raises(
        ConfigError, match="must be one of tiny, small, base, large, huge, got 'mini'"
    ):
        load_config(BASE, dict(model_size='mini'))


def test_following_twice_changes_nothing():
    cfg = load_config(BASE, KNOB_VALUES)
    before = cfg.to_dict()
    follow_knobs(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    'name', ['MaskedViT', 'MAEDecoder', 'MLPHead', 'CenterCrop', 'UniformClips']
)
def test_classes_follow_known_knobs_by_arguments_that_they_take(name):
    cls = find_type(name)
    taken = inspect.signature(cls).parameters
    follows = getattr(cls, 'follows', {})
    assert set(follows.values()) <= set(KNOBS)
    sizes = getattr(cls, 'model_sizes', {})
    assert follows or sizes
    assert {*follows, *(key for size in sizes.values() for key in size)} <= set(taken)
