# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A signal ends a run behind the step that it is at, with a checkpoint, and what follows is the run without a break."""

import os
import signal

import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from vicmae.checkpoints.read import load_checkpoint_file
from vicmae.engine.hooks import PreemptionHook
from vicmae.errors import ConfigError, Preempted
from vicmae.testing import toy_runner


class Signal(Hook):
    """Sends this process a signal during a step, or during an evaluation."""

    def __init__(self, iteration, number=signal.SIGTERM, when='before_train_iter'):
        self.iteration, self.number = iteration, number
        setattr(self, when, self._send)

    def _send(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'nothing': 0.0}


def run(tmp_path, *hooks, resume=False, accumulate=1, checkpoints=True, **options):
    checkpoint = dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2)
    runner = toy_runner(
        tmp_path,
        num_batches=5,
        train_cfg=dict(type='EpochLoop', max_epochs=3),
        hooks=[*hooks, PreemptionHook()],
        default_hooks=dict(checkpoint=checkpoint if checkpoints else None),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulate),
        resume=resume,
        **options,
    )
    runner.train()
    return runner


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_preempted_run_ends_after_its_step_and_resumes_equally(tmp_path, number, capfd):
    whole = run(tmp_path / 'whole')
    with pytest.raises(
        Preempted, match=r'Preempted after iteration 8 of 15.*iter_8.pth. Continue'
    ) as end:
        run(tmp_path / 'part', Signal(7, number))
    assert end.value.exit_status == 75
    assert f'{number.name}: stopping after this step' in capfd.readouterr().err
    assert (tmp_path / 'part/last_checkpoint').read_text().endswith('iter_8.pth')
    resumed = run(tmp_path / 'part', resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
    # The one in between made room for later ones.
    assert sorted(p.name for p in (tmp_path / 'part').glob('*.pth')) == [
        'epoch_2.pth',
        'epoch_3.pth',
    ]


def test_checkpoint_is_not_written_within_an_accumulated_step(tmp_path):
    with pytest.raises(Preempted, match='after iteration 9 of 15'):
        run(tmp_path, Signal(6), accumulate=3)
    assert load_checkpoint_file(tmp_path / 'iter_9.pth')['meta']['iter'] == 9


def test_existing_checkpoint_is_not_written_again(tmp_path):
    with pytest.raises(Preempted, match=r'iter_4.pth'):
        run(tmp_path, Signal(3))
    checkpoint = dict(
        type='SafeCheckpointHook', by_epoch=False, interval=2, filename_tmpl='n{}.pth'
    )
    with pytest.raises(Preempted, match=r'The checkpoint is .*n4\.pth'):
        toy_runner(
            tmp_path / 'other',
            num_batches=5,
            hooks=[Signal(3), PreemptionHook()],
            default_hooks=dict(checkpoint=checkpoint),
        ).train()
    assert not (tmp_path / 'other/iter_4.pth').exists()


def test_evaluation_ended_by_a_signal_is_repeated(tmp_path):
    samples = [{'inputs': torch.zeros(2, 2), 'data_samples': i} for i in range(3)]
    evaluation = dict(
        val_dataloader=dict(
            batch_size=1, dataset=samples, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator(Nothing(prefix='toy')),
    )
    with pytest.raises(Preempted, match='after iteration 5 of 15'):
        run(tmp_path, Signal(5, when='before_val_iter'), **evaluation)
    resumed = run(tmp_path, resume=True, **evaluation)
    log = [path.read_text() for path in sorted(tmp_path.glob('*/*.log'))]
    assert 'The evaluation after iteration 5 is missing in the checkpoint' in ''.join(log)
    history, _ = resumed.message_hub.get_scalar('val/toy/nothing').data
    assert len(history) == 3  # as many as there are epochs


def test_signal_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path / 'whole')
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(Preempted):
        run(tmp_path / 'part', Signal(3))
    assert signal.getsignal(signal.SIGTERM) is before


def test_run_without_checkpoints_says_that_it_has_none(tmp_path):
    with pytest.raises(Preempted, match='Nothing writes checkpoints here'):
        run(tmp_path, Signal(3), checkpoints=False)


def test_unknown_signal_is_refused():
    with pytest.raises(ConfigError, match="has 'SIGFOO', which is no signal"):
        PreemptionHook(signals=['SIGFOO'])


def end_on_rank(work_dir):
    hooks = [Signal(2)] if dist.get_rank() == 1 else []
    with pytest.raises(Preempted, match=r'Preempted after iteration 3 of 9'):
        run(work_dir, *hooks)
    return True


def test_signal_to_one_rank_ends_all_after_the_same_step(tmp_path, gloo_pool):
    assert gloo_pool.run(end_on_rank, 2, tmp_path) == [True, True]
