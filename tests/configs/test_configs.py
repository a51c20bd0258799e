# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Every config of the project: it loads, its types exist, its model builds."""

import ast
import functools
import os
import re

import pytest
import torch
from mmengine.config import Config
from yapf.yapflib import yapf_api

from vicmae.config.check import find_type, top_level_names
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

from .cached import load

FOLDER = project_file('configs')
CONFIGS = sorted(p for p in FOLDER.rglob('*.py') if '_base_' not in p.parts)
BASES = sorted(p for p in FOLDER.rglob('*.py') if '_base_' in p.parts)
# Parameters of the standard models without a classifier, position embeddings included.
STANDARD = {
    'small-p16': 21_665_664,
    'base-p16': 85_798_656,
    'large-p16': 303_301_632,
    'huge-p14': 630_764_800,
}

# What a config trains.
ALGORITHMS = {
    'MAE',
    'MAEST',
    'OmniMAE',
    'SimCLR',
    'SupervisedJoint',
    'TransferClassifier',
    'VideoMAE',
    'ViCMAE',
}

every_config = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
# Probes of stored features train nothing.
every_training = pytest.mark.parametrize(
    'path', [p for p in CONFIGS if '_probes_' not in p.name], ids=lambda path: path.stem
)
every_trained = pytest.mark.parametrize(
    'path',
    [p for p in CONFIGS if '_probes_' not in p.name]
    + sorted(project_file('projects').glob('*/configs/**/*.py')),
    ids=lambda path: path.stem,
)
every_file = pytest.mark.parametrize('path', CONFIGS + BASES, ids=lambda path: path.stem)


def build_without_memory(cfg):
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@functools.cache
def is_registered(name):
    return find_type(name) is not None


_TRAINED = {}  # parameters of each distinct model


def num_trained(cfg):
    """How many parameters are trained; each distinct model is built once."""
    key = repr(cfg.model.to_dict())
    if key not in _TRAINED:
        parameters = build_without_memory(cfg).parameters()
        _TRAINED[key] = sum(p.numel() for p in parameters if p.requires_grad)
    return _TRAINED[key]


def bases_of(path):
    """What a config names in `_base_`."""
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            named = ast.literal_eval(node.value)
            return [path.parent / base for base in ([named] if isinstance(named, str) else named)]
    return []


def names_in(path):
    """What a config sets at its top level."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {t.id for node in assigned for t in node.targets if isinstance(t, ast.Name)}


def levels(path):
    return 1 + max((levels(base) for base in bases_of(path)), default=0)


def test_there_are_configs_of_each_standard_size():
    assert all(any(f'vit-{size}_' in p.name for p in CONFIGS) for size in STANDARD)


def types_in(node):
    """All values of `type` keys below a node."""
    if isinstance(node, (list, tuple)):
        return [name for item in node for name in types_in(item)]
    if not isinstance(node, dict):
        return []
    own = [node['type']] if isinstance(node.get('type'), str) else []
    return own + [name for value in node.values() for name in types_in(value)]


@every_config
def test_config_loads_with_every_type_registered(path):
    names = types_in(load(path).to_dict())
    if '_probes_' in path.name:
        assert {'FrozenFeatures', 'FeatureTestLoop', 'KNNAccuracy'} <= set(names)
    else:
        assert 'MixtureSampler' in names
        assert {'AdamW', 'mmpretrain.LARS'} & set(names)
        assert set(names) & ALGORITHMS
    assert [name for name in names if not is_registered(name)] == []


@every_config
def test_config_that_is_written_and_read_again_is_the_same(path, tmp_path, monkeypatch):
    cfg = load(path)
    if path.stem == 'vicmae_vit-tiny-p8_debug':  # as users get it: formatted, see conftest.py
        monkeypatch.setattr(yapf_api, 'FormatCode', yapf_api.FormatCode.__wrapped__)
    cfg.dump(tmp_path / 'again.py')
    assert Config.fromfile(tmp_path / 'again.py').to_dict() == cfg.to_dict()


@every_config
def test_model_of_the_config_builds(path):
    assert (num_trained(load(path)) == 0) == ('_probes_' in path.name)


@pytest.mark.parametrize('size', STANDARD)
def test_backbone_has_the_parameters_of_the_standard_model(size):
    paths = [p for p in CONFIGS if f'vit-{size}_8xb512' in p.name]
    assert paths
    for path in paths:
        backbone = build_without_memory(load(path)).backbone
        assert sum(p.numel() for p in backbone.parameters()) == STANDARD[size]


@every_file
def test_docstring_says_what_the_config_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    assert docstring and docstring.splitlines()[0].endswith('.')


@every_config
def test_docstring_says_how_the_config_is_run(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    commands = [line for line in docstring.splitlines() if path.stem in line or 'make demo' in line]
    assert commands
    for command in commands:
        words = [word for word in command.split() if '/' in word and not word.startswith('data')]
        assert all(os.path.exists(FOLDER.parent / word) for word in words), command


# Parts of names: CONTRIBUTING.md describes them.
BACKBONE = r'vit-(tiny|small|base|large|huge)-p\d+'
TRAINING = r'\d+xb\d+(-[a-z0-9]+)*-\d+e'
PRETRAINING_NAME = rf'[a-z-]+_{BACKBONE}(_[a-z0-9-]+)?_{TRAINING}_[a-z0-9-]+'
TRANSFER_NAME = rf'{BACKBONE}_[a-z]+-\d+e-pre_(((linear|attentive)-)?{TRAINING}|probes)_[a-z0-9-]+'
SMALL_NAME = rf'[a-z-]+_{BACKBONE}(_[a-z-]+)?_(debug|demo)'


@every_config
def test_name_follows_the_pattern_of_its_kind(path):
    kind = TRANSFER_NAME if path.parent.name == 'benchmarks' else PRETRAINING_NAME
    assert re.fullmatch(f'{kind}|{SMALL_NAME}', path.stem)


@every_file
def test_config_names_the_steps_that_others_change(path):
    """No change by position, which breaks when a base gets another step."""
    text = path.read_text(encoding='utf-8')
    assert not re.search(
        r'\w\[-?\d+\]|^del |\.(pop|update|insert|append|extend)\(', text, re.MULTILINE
    )


@every_config
def test_variables_of_a_config_are_those_of_the_list(path):
    guide = (FOLDER.parent / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    (listed,) = re.findall(r'names of variables: ([^.]*)\.', ' '.join(guide.split()))
    variables = set(load(path).to_dict()) - top_level_names()
    assert variables <= {*re.findall(r'`(\w+)`', listed), 'vis_backends'}


@every_config
def test_bases_of_one_config_define_no_key_twice(path):
    keys = [key for base in bases_of(path) for key in names_in(base) if key != '_base_']
    assert len(keys) == len(set(keys))


@every_config
def test_config_has_at_most_three_levels_of_bases(path):
    assert levels(path) <= 4


@every_training
def test_schedule_follows_the_length_of_the_run(path):
    cfg = load(path)
    warmup, cosine = cfg.param_scheduler
    assert not {'begin', 'end', 'T_max'} & {*warmup, *cosine}  # the runner fills in the end
    assert warmup.share == cosine.warmup_share
    # The last weights are evaluated.
    assert cfg.train_cfg.max_epochs % cfg.train_cfg.val_interval == 0


@every_trained
def test_batch_learning_rate_and_epochs_are_those_of_the_file_name(path):
    cfg = load(path)
    batch = cfg.train_dataloader.batch_size
    named = re.search(r'[_-](\d+)xb(\d+)-', path.stem)
    processes = 1
    if named:
        processes, stated = map(int, named.groups())
        assert batch == stated
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    assert cfg.auto_scale_lr.base_batch_size == processes * batch * accumulated
    epochs = re.search(r'-(\d+)e_[a-z0-9-]+$', path.stem)
    assert epochs is None or cfg.train_cfg.max_epochs == int(epochs[1])


def views_of(node):
    """All steps of a config that make views, and all that load images."""
    if isinstance(node, dict):
        if node.get('type') in ('OneView', 'TwoViews', 'ClipViews', 'LoadImage'):
            yield node
        for value in node.values():
            yield from views_of(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from views_of(value)


@pytest.mark.parametrize(
    'path',
    # Those of ViC-MAE for other data inherit their pipelines.
    [p for p in CONFIGS if '-amp-' in p.stem if p.parent.name != 'vicmae' or '_in1k-' in p.stem],
    ids=lambda p: p.stem,
)
def test_configs_for_gpus_change_views_there_and_load_images_as_far_as_needed(path):
    steps = list(views_of(Config.fromfile(path).train_dataloader.to_dict()))
    assert {step['type'] for step in steps} >= (
        {'LoadImage'} if 'in1k' in path.stem else {'ClipViews'}
    )
    for step in steps:
        option = 'lazy' if step['type'] == 'LoadImage' else 'on_device'
        assert step.get(option) is True, step


@pytest.mark.parametrize(
    'path',
    [p for p in CONFIGS if p.parent.name in ('mae', 'maest', 'omnimae', 'simclr', 'videomae')],
    ids=lambda path: path.stem,
)
def test_no_config_of_another_method_has_a_hook_of_vicmae(path):
    hooks = load(path).get('custom_hooks', [])
    assert 'LossWeightScheduleHook' not in [hook.type for hook in hooks]


@pytest.mark.parametrize('method', ['mae', 'simclr', 'vicmae'])
def test_only_vicmae_has_the_hook_that_raises_its_contrastive_weight(method):
    schedule = FOLDER / '_base_/schedules/adamw-coslr-800e.py'
    model = FOLDER / f'_base_/models/{method}_vit-base-p16.py'
    cfgs = [Config.fromfile(path) for path in (schedule, model)]
    hooks = [hook for cfg in cfgs for hook in cfg.get('custom_hooks', [])]
    raised = [hook.type for hook in hooks]
    assert ('LossWeightScheduleHook' in raised) == (method == 'vicmae')
