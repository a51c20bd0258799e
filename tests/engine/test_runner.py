# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy
import re

import pytest

from vicmae.datasets import MixedDataset
from vicmae.engine import VicmaeRunner
from vicmae.evaluation.evaluator import ProbeEvaluator
from vicmae.registry import MODELS, RUNNERS
from vicmae.testing import toy_runner, toy_vicmae_config

LONG = '\n'.join(f'detail {i}' for i in range(30))


@pytest.fixture
def run(tmp_path, capfd):
    """Trains; returns what the console showed and what the log file has."""
    runner = toy_runner(tmp_path)
    runner.logger.info(LONG)
    runner.logger.info('two\nlines')
    runner.train()
    (log,) = tmp_path.glob('*/*.log')
    out, err = capfd.readouterr()
    return out + err, log.read_text()


def test_long_messages_are_in_the_log_file_only(run):
    console, log = run
    assert 'detail 29' in log and 'detail' not in console
    for start in ('System environment', 'Hooks will be executed'):
        assert start in log, start
        assert start not in console, start


def test_messages_without_use_are_in_the_log_file_only(run):
    console, log = run
    assert 'Distributed training is not used' in log
    assert 'Distributed training is not used' not in console


def test_short_messages_and_progress_are_on_the_console_too(run):
    console, log = run
    for text in ('two\nlines', 'Epoch(train)'):
        assert text in log and text in console
    assert len(console.splitlines()) < 40 < len(log.splitlines())


def test_warnings_and_errors_are_on_the_console(tmp_path, capfd):
    runner = toy_runner(tmp_path)
    runner.logger.warning('something is odd')
    runner.logger.error('something is wrong')
    out, err = capfd.readouterr()
    assert 'something is odd' in out + err and 'something is wrong' in out + err


def test_config_names_it():
    assert RUNNERS.get('VicmaeRunner').__name__ == 'VicmaeRunner'


def test_any_default_hook_is_disabled_by_none(tmp_path):
    on = dict(timer=dict(type='IterTimerHook'), step_seed=dict(type='StepSeedHook'))
    for hooks, expected in [(on, {'IterTimerHook', 'StepSeedHook'}), (dict.fromkeys(on), set())]:
        runner = toy_runner(tmp_path, default_hooks=hooks)
        names = {type(hook).__name__ for hook in runner.hooks}
        assert names & {'IterTimerHook', 'StepSeedHook'} == expected


def test_share_of_bad_samples_counts_files_and_not_visits(tmp_path):
    class Several(list):
        visits_per_opening = 4

    data = MixedDataset(dict(images=list(range(30)), videos=Several(range(10))))
    loader = dict(
        batch_size=4,
        dataset=data,
        sampler=dict(type='MixtureSampler', seed=0),
        collate_fn=dict(type='default_collate'),
    )
    runner = toy_runner(tmp_path, train_dataloader=loader)
    assert runner.build_dataloader(loader).ledger.judged_from == 4 * 40


def test_training_is_detected_by_its_loop(tmp_path):
    class Copying(VicmaeRunner):
        def build_dataloader(self, dataloader, *args, **kwargs):
            return super().build_dataloader({**copy.deepcopy(dataloader), 'num_workers': 0})

    loader = dict(batch_size=2, dataset=list(range(8)), sampler=dict(type='DefaultSampler'))
    runner = Copying(
        model=MODELS.build(toy_vicmae_config()),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        val_dataloader=copy.deepcopy(loader),  # the same: evaluated on the training data
        val_cfg=dict(),
        val_evaluator=[],
        experiment_name='copying',
    )
    for role in ('train', 'val'):
        built = getattr(runner, f'build_{role}_loop')(getattr(runner, f'_{role}_loop')).dataloader
        assert built.replace is (role == 'train')
        assert built.ledger.option == f'{role}_dataloader.max_bad_fraction'
    assert VicmaeRunner.build_dataloader(runner, copy.deepcopy(loader)).replace is True


def test_seed_of_a_resumed_run_is_not_that_of_the_next_run(tmp_path):
    toy_runner(tmp_path, max_epochs=1, checkpoints=True).train()
    resumed = toy_runner(tmp_path, max_epochs=2, checkpoints=True, resume=True)
    resumed.train()
    next_one = toy_runner(tmp_path / 'next', max_epochs=1)
    assert next_one._randomness_cfg == dict(seed=None)
    assert resumed._randomness_cfg['seed'] == resumed.seed != next_one.seed


def test_log_has_no_repetitions(run, capfd):
    console, log = run
    for text in (console, log):
        assert 'Exp name' not in text and 'base_lr' not in text
        assert len(re.findall(r'Epoch\(train\).* lr: 1.0000e-02 ', text)) == 6


def test_resumed_run_logs_its_position(tmp_path, capfd):
    options = dict(checkpoints=True, num_batches=3)
    toy_runner(tmp_path, **options).train()
    capfd.readouterr()
    toy_runner(tmp_path, **options, max_epochs=4, resume=True).train()
    console = ''.join(capfd.readouterr())
    assert re.search(r"Resumed '.*epoch_2.pth' after 2 epochs, at iteration 6 of 12\.", console)
    assert 'resumed epoch' not in console


def test_evaluators_measure_the_other_probes_when_one_fails(tmp_path):
    runner = toy_runner(tmp_path)
    assert type(runner.build_evaluator(dict(type='KNNAccuracy'))) is ProbeEvaluator
