# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the arguments of the tools change in a config."""

import argparse
import json

import pytest

from vicmae.apis import load_config
from vicmae.config.options import (
    apply_test_options,
    apply_train_options,
    report_metrics,
    train_overrides,
)
from vicmae.config.paths import project_file
from vicmae.errors import ConfigError

BASE = project_file('configs/vicmae/vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py')
DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
TRAIN = dict(
    launcher='none',
    seed=None,
    deterministic=False,
    resume=None,
    amp=False,
    cfg_options=None,
    no_validate=False,
    auto_scale_lr=False,
    no_pin_memory=False,
    no_persistent_workers=False,
)
TEST = dict(launcher='none', checkpoint='a.pth', seed=None, amp=False, out=None, out_item='metrics')


def train_config(path=DEBUG, **options):
    args = argparse.Namespace(**{**TRAIN, 'config': path, **options})
    cfg = load_config(path, lambda cfg: train_overrides(cfg, args))
    apply_train_options(cfg, args)
    return cfg


def test_config(**options):
    cfg = load_config(DEBUG)
    apply_test_options(cfg, argparse.Namespace(**{**TEST, **options}))
    return cfg


test_config.__test__ = False


def test_no_argument_changes_nothing_but_the_launcher():
    cfg = train_config()
    assert cfg.pop('launcher') == 'none'
    assert cfg.to_dict() == load_config(DEBUG).to_dict()


@pytest.mark.parametrize(
    ('options', 'key', 'value'),
    [
        (dict(seed=7), 'randomness.seed', 7),
        (dict(deterministic=True), 'randomness.deterministic', True),
        (dict(resume='auto'), 'resume', True),
        (dict(resume='auto'), 'load_from', None),
        (dict(resume='x.pth'), 'load_from', 'x.pth'),
        (dict(amp=True), 'optim_wrapper.type', 'AmpOptimWrapper'),
        (
            dict(amp=True, cfg_options={'optim_wrapper.dtype': 'bfloat16'}),
            'optim_wrapper.dtype',
            'bfloat16',
        ),
        (dict(no_validate=True), 'val_dataloader', None),
        (dict(no_validate=True), 'val_evaluator', None),
        (dict(no_persistent_workers=True), 'train_dataloader.persistent_workers', False),
        (dict(no_pin_memory=True), 'train_dataloader.pin_memory', False),
    ],
)
def test_argument_of_train_sets_its_key(options, key, value):
    node = train_config(**options)
    for part in key.split('.'):
        node = node[part]
    assert node == value


def test_seed_of_zero_is_a_seed():
    cfg = load_config(DEBUG, {'randomness.seed': 5})
    apply_train_options(cfg, argparse.Namespace(**{**TRAIN, 'seed': 0}))
    assert cfg.randomness.seed == 0


def test_mixed_precision_keeps_what_the_config_says_of_it():
    options = {'optim_wrapper.dtype': 'float16', 'optim_wrapper.loss_scale': 512.0}
    wrapper = train_config(BASE, amp=True, cfg_options=options).optim_wrapper
    assert (wrapper.dtype, wrapper.loss_scale) == ('float16', 512.0)
    assert train_config(BASE, amp=True).optim_wrapper.loss_scale == 'dynamic'


def test_amp_keeps_a_wrapper_that_computes_in_bfloat16(tmp_path):
    config = tmp_path / 'own.py'
    config.write_text(f"_base_ = '{DEBUG}'\noptim_wrapper = dict(type='BFloat16OptimWrapper')\n")
    assert train_config(config, amp=True).optim_wrapper.type == 'BFloat16OptimWrapper'


def test_auto_scale_needs_the_batch_size_of_the_learning_rate():
    assert train_config(BASE, auto_scale_lr=True).auto_scale_lr == dict(
        base_batch_size=4096, enable=True
    )
    with pytest.raises(
        ConfigError, match=r'`--auto-scale-lr` needs `auto_scale_lr = dict\(base_batch'
    ):
        train_config(auto_scale_lr=True, cfg_options={'auto_scale_lr': None})


def test_persistent_workers_are_disabled_without_workers():
    cfg = load_config(DEBUG, {'train_dataloader.num_workers': 0})
    assert cfg.train_dataloader.persistent_workers
    apply_train_options(cfg, argparse.Namespace(**TRAIN))
    assert not cfg.train_dataloader.persistent_workers


def test_checkpoint_is_loaded_and_not_resumed():
    cfg = test_config(checkpoint='a.pth', seed=3, amp=True)
    assert (cfg.load_from, cfg.resume) == ('a.pth', False)
    assert cfg.randomness.seed == 3
    assert cfg.test_cfg.fp16


def test_predictions_are_dumped_next_to_the_metrics():
    cfg = test_config(out='x.pkl', out_item='pred')
    assert [e['type'] for e in cfg.test_evaluator] == ['KNNAccuracy', 'DumpPredictions']
    assert cfg.test_evaluator[1]['out_file_path'] == 'x.pkl'


def test_config_without_an_evaluation_is_refused():
    cfg = load_config(DEBUG, {'test_dataloader': None})
    with pytest.raises(ConfigError, match='has no `test_dataloader` .*nothing to test.*demo.py'):
        apply_test_options(cfg, argparse.Namespace(**TEST))


def test_metrics_are_printed_and_written_in_full(tmp_path, capsys):
    figures = {'images/knn_top1': 100 / 3}
    out = tmp_path / 'new/figures.json'
    report_metrics(figures, argparse.Namespace(out=str(out), out_item='metrics'))
    printed = capsys.readouterr().out
    assert 'images/knn_top1' in printed and ' 33.3 ' in printed
    assert json.loads(out.read_text()) == figures


def test_out_that_cannot_be_written_is_refused_before_the_evaluation(tmp_path):
    with pytest.raises(ConfigError, match=r"Can't write `--out` '.*': it is a folder"):
        test_config(out=str(tmp_path))
