# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A run's checkpoints: which are kept, what happens where one can't be written, and versions that don't mix."""

import shutil
import threading
from functools import partial

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from vicmae.checkpoints.read import load_checkpoint_file
from vicmae.engine.hooks import SafeCheckpointHook, safe_checkpoint
from vicmae.errors import CheckpointError, ConfigError
from vicmae.testing import toy_runner
from vicmae.testing.toy_run import ToyModel

from ...child import alone, limit_files


def run(
    tmp_path,
    *hooks,
    max_epochs=2,
    num_batches=4,
    accumulate=1,
    resume=False,
    load_from=None,
    settings=None,
    **options,
):
    """A toy run of eight steps with a checkpoint after each, unless options say otherwise."""
    options = dict(type='SafeCheckpointHook', by_epoch=False, interval=1) | options
    torch.manual_seed(1)
    model = ToyModel()
    model.register_buffer('bulk', torch.zeros(100_000))  # so that logs are shorter than checkpoints
    runner = toy_runner(
        tmp_path,
        model=model,
        train_cfg=dict(type='EpochLoop', max_epochs=max_epochs),
        num_batches=num_batches,
        hooks=hooks,
        resume=resume,
        load_from=load_from,
        **(settings or {}),
        default_hooks=dict(checkpoint=options),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulate),
    )
    runner.train()
    return runner


class After(Hook):
    """Does something after some iterations."""

    priority = 'LOWEST'

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            self.action(runner)


def files(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.mark.parametrize('async_save', [False, True])
def test_newest_checkpoints_are_kept_and_the_last_is_named(tmp_path, async_save):
    run(tmp_path, max_keep_ckpts=3, async_save=async_save)
    assert files(tmp_path) == ['iter_6.pth', 'iter_7.pth', 'iter_8.pth']
    assert sorted(p.name for p in tmp_path.glob('*.sha256')) == [
        f'iter_{i}.pth.sha256' for i in (6, 7, 8)
    ]
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_8.pth')


def test_checkpoints_before_a_resume_are_counted(tmp_path):
    run(tmp_path, max_epochs=1, max_keep_ckpts=2)
    assert files(tmp_path) == ['iter_3.pth', 'iter_4.pth']
    run(tmp_path, max_keep_ckpts=2, resume=True)
    assert files(tmp_path) == ['iter_7.pth', 'iter_8.pth']


def test_checkpoints_of_the_resumed_run_elsewhere_are_not_deleted(tmp_path):
    run(tmp_path / 'a', max_epochs=1, max_keep_ckpts=2)
    first = tmp_path / 'a/iter_4.pth'
    run(tmp_path / 'b', max_keep_ckpts=1, resume=True, load_from=str(first))
    assert files(tmp_path / 'a') == ['iter_3.pth', 'iter_4.pth']
    assert files(tmp_path / 'b') == ['iter_8.pth']


def test_copy_of_a_run_resumes_from_its_own_files(tmp_path):
    run(tmp_path / 'a', max_epochs=1, max_keep_ckpts=2)
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    run(tmp_path / 'b', max_keep_ckpts=1, resume=True)
    assert files(tmp_path / 'a') == ['iter_3.pth', 'iter_4.pth']
    assert files(tmp_path / 'b') == ['iter_8.pth']


class Score(BaseMetric):
    """Rises at the first evaluation, and at the third."""

    values = iter(())

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'score': next(Score.values)}


def best_run(tmp_path, *hooks):
    samples = [{'inputs': torch.zeros(2, 2), 'data_samples': 0}]
    Score.values = iter([1.0, 0.5, 2.0])
    return run(
        tmp_path,
        *hooks,
        max_epochs=3,
        by_epoch=True,
        max_keep_ckpts=1,
        save_best='toy/score',
        rule='greater',
        settings=dict(
            val_dataloader=dict(
                batch_size=1, dataset=samples, sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            val_cfg=dict(),
            val_evaluator=Evaluator(Score(prefix='toy')),
        ),
    )


def test_best_checkpoint_is_deleted_after_a_better_one(tmp_path):
    best_run(tmp_path)
    assert files(tmp_path) == ['best_toy_score_epoch_3.pth', 'epoch_3.pth']
    assert len(list(tmp_path.glob('best*'))) == 2  # with its hash


@alone
def test_best_checkpoint_is_kept_if_a_better_one_cannot_be_written(tmp_path):
    class FullAfter(Hook):
        priority = 'VERY_HIGH'

        def before_val(self, runner):
            limit_files(200_000 if runner.epoch == 3 else None)

        def after_val(self, runner):
            limit_files()

    best_run(tmp_path, FullAfter())
    assert 'best_toy_score_epoch_1.pth' in files(tmp_path)
    assert load_checkpoint_file(tmp_path / 'best_toy_score_epoch_1.pth')['meta']['epoch'] == 1


def test_file_of_another_run_in_the_folder_is_not_deleted(tmp_path):
    (tmp_path / 'iter_99.pth').write_bytes(b'precious')
    run(tmp_path, max_keep_ckpts=1)
    assert files(tmp_path) == ['iter_8.pth', 'iter_99.pth']


def test_checkpoint_has_only_tensors_and_plain_values(tmp_path):
    run(tmp_path, interval=8)
    whole = torch.load(tmp_path / 'iter_8.pth', weights_only=True)  # without any allowance
    assert {'meta', 'state_dict', 'optimizer', 'message_hub'} <= set(whole)
    assert whole['meta']['iter'] == 8


@pytest.mark.parametrize('by_epoch', [False, True])
def test_checkpoint_waits_for_the_step_of_the_optimiser(tmp_path, by_epoch):
    """Three batches to a step, four to an epoch: what is due after batch 4 is written after batch 6."""
    interval = 1 if by_epoch else 4
    run(tmp_path, accumulate=3, by_epoch=by_epoch, interval=interval)
    name = 'epoch_1.pth' if by_epoch else 'iter_4.pth'
    meta = load_checkpoint_file(tmp_path / name)['meta']
    assert (meta['iter'], meta['epoch'], meta['position']['batch']) == (6, 1, 2)


@pytest.mark.parametrize('by_epoch', [False, True])
@pytest.mark.parametrize('stop_at', [4, 6, 7])
def test_accumulating_run_resumes_like_an_uninterrupted_one(tmp_path, by_epoch, stop_at):
    class Killed(Exception):
        pass

    def kill(runner):
        raise Killed

    train = partial(run, num_batches=5, accumulate=3, by_epoch=by_epoch, max_epochs=3)
    whole = train(tmp_path / 'whole')
    with pytest.raises(Killed):
        train(tmp_path / 'part', After(stop_at, kill))
    resumed = train(tmp_path / 'part', resume=(tmp_path / 'part/last_checkpoint').is_file())
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])


# ------------------------------------------------------------------------- what can't be written
@pytest.mark.parametrize('async_save', [False, True])
@alone
def test_full_disk_costs_a_checkpoint_and_not_the_run(tmp_path, async_save):
    full = After(3, lambda runner: limit_files(200_000))
    room = After(6, lambda runner: (wait(runner), limit_files()))
    runner = run(tmp_path, full, room, max_keep_ckpts=2, async_save=async_save)
    assert runner.iter == 8
    assert files(tmp_path) == ['iter_7.pth', 'iter_8.pth']
    log = next(tmp_path.glob('*/*.log')).read_text()
    failed = log.count('File too large. Earlier checkpoints are unchanged. Training continues')
    assert failed == 3 or (async_save and failed == 4)


def wait(runner):
    """Until the thread has tried to write; the next checkpoint reports the result."""
    hook = next(hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    if hook._writing is not None:
        hook._writing.exception()


@alone
def test_earlier_checkpoints_stay_while_none_can_be_written(tmp_path):
    with pytest.raises(CheckpointError, match='File too large'):  # the last one has to be written
        run(tmp_path, After(3, lambda runner: limit_files(200_000)), max_keep_ckpts=2)
    assert files(tmp_path) == ['iter_2.pth', 'iter_3.pth']
    assert load_checkpoint_file(tmp_path / 'iter_3.pth')['meta']['iter'] == 3
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_3.pth')


@pytest.mark.parametrize('async_save', [False, True])
@alone
def test_run_stops_at_a_full_disk_if_configured(tmp_path, async_save):
    full = After(3, lambda runner: limit_files(200_000))
    with pytest.raises(CheckpointError, match=r'iter_[34].pth.: File too large'):
        run(tmp_path, full, when_unwritten='stop', async_save=async_save)


def test_missing_folder_is_one_error_per_checkpoint(tmp_path):
    out = tmp_path / 'out'
    hooks = [
        After(3, lambda runner: shutil.rmtree(out)),
        After(6, lambda runner: (out / 'work').mkdir(parents=True)),
    ]
    runner = run(tmp_path / 'work', *hooks, out_dir=str(out), max_keep_ckpts=1)
    assert runner.iter == 8
    assert files(out / 'work') == ['iter_8.pth']


def test_missing_work_directory_does_not_stop_the_run(tmp_path, capfd):
    hooks = [
        After(3, lambda runner: shutil.rmtree(tmp_path)),
        After(6, lambda runner: tmp_path.mkdir(exist_ok=True)),
    ]
    runner = run(tmp_path, *hooks, max_keep_ckpts=1)
    assert runner.iter == 8
    assert files(tmp_path) == ['iter_8.pth']
    assert capfd.readouterr().err.count("Can't write the log or its curves") <= 2


def test_paths_that_are_not_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="writes to folders, got `out_dir` 's3://bucket'"):
        run(tmp_path, out_dir='s3://bucket')


def test_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="one of continue, stop, got 'panic'"):
        SafeCheckpointHook(when_unwritten='panic')


# ------------------------------------------------------------------------- while training continues
def test_training_continues_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    write, released, trained = safe_checkpoint.write_checkpoint, threading.Event(), []

    def slow(path, content):
        assert released.wait(30)
        write(path, content)

    monkeypatch.setattr(safe_checkpoint, 'write_checkpoint', slow)
    weights = {}

    def note(runner):
        weights[runner.iter + 1] = runner.model.linear.weight.detach().clone()

    def release(runner):
        trained.append(runner.iter + 1)
        released.set()

    hooks = [After(4, note), After(7, release), After(8, note)]
    run(tmp_path, *hooks, interval=4, async_save=True)
    assert trained == [7]  # three steps behind the checkpoint that was still being written
    for step in (4, 8):
        saved = load_checkpoint_file(tmp_path / f'iter_{step}.pth')
        assert torch.equal(saved['state_dict']['linear.weight'], weights[step])
        assert saved['meta']['iter'] == step
    assert not torch.equal(weights[4], weights[8])
