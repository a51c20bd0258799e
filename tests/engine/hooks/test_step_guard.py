# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Steps that go wrong in real runs: nothing moves, all ranks agree, and what led to it is written down."""

import json
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vicmae.engine.bad_steps import GuardState
from vicmae.engine.hooks import StepGuardHook
from vicmae.engine.optimizers import GuardedOptimWrapper
from vicmae.errors import ConfigError, TrainingError
from vicmae.registry import MODELS, OPTIM_WRAPPERS
from vicmae.testing import (
    PoisonGradients,
    PoisonLoss,
    PoisonPixels,
    ToyModel,
    toy_runner,
    toy_vicmae_config,
)

BATCHES = 4
MOMENTUM = dict(type='SGD', lr=0.1, momentum=0.9)
SCHEDULE = dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=6)


class NormedModel(ToyModel):
    """The toy model behind a batch norm, whose running means a forward pass moves."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return super().forward([self.norm(view) for view in inputs], data_samples, mode)


class Watch(Hook):
    """Keeps weights, buffers and the optimiser's state before the run and after each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.states = []

    def before_train(self, runner):
        model = {k: v.clone() for k, v in runner.model.state_dict().items()}
        optimizer = runner.optim_wrapper.optimizer.state_dict()['state']
        moments = {
            (n, k): v.clone() for n, s in optimizer.items() for k, v in s.items() if v is not None
        }
        self.states.append({**model, **moments})

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.before_train(runner)

    @property
    def moved(self):
        """Whether anything moved, by iteration."""
        return [not _equal(a, b) for a, b in zip(self.states, self.states[1:], strict=False)]


def _equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def train(work_dir, *hooks, guard=None, model=None, data_parallel=False, **kwargs):
    """Trains; returns what `Watch` saw, and the runner."""
    watch = Watch()
    torch.manual_seed(0)
    runner = toy_runner(
        work_dir,
        hooks=[StepGuardHook(**(guard or {})), *hooks, watch],
        model=model or NormedModel(),
        **{
            'num_batches': BATCHES,
            'max_epochs': 2,
            'optim_wrapper': dict(optimizer=MOMENTUM),
            'param_scheduler': SCHEDULE,
            **kwargs,
        },
    )
    if data_parallel:
        runner.model = MMDistributedDataParallel(runner.model)
    runner.train()
    return watch, runner


def train_by_hand(leave_out, accumulate=1):
    """The same run without MMEngine, without the steps that hold batches to be left out."""
    torch.manual_seed(0)
    model = NormedModel()
    torch.manual_seed(0)
    samples = torch.stack([torch.randn(2, 2) for _ in range(4 * BATCHES)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = list(samples.unflatten(0, (BATCHES, 4))) * 2
    for first in range(0, len(batches), accumulate):
        numbers = range(first, first + accumulate)
        if set(numbers) & set(leave_out):
            continue
        optimizer.param_groups[0]['lr'] = 0.1 * min(0.5 + 0.5 * numbers[-1] / 5, 1)
        for number in numbers:
            views = list(batches[number].unbind(1))
            (model(views, mode='loss')['loss_difference'] / accumulate).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def log_of(work_dir):
    return ''.join(path.read_text() for path in sorted(work_dir.rglob('*.log')))


def record(work_dir, iteration, rank=0):
    return json.loads((work_dir / f'bad_steps/iter_{iteration}/rank_{rank}.json').read_text())


# ------------------------------------------------------------------------- nothing moves
@pytest.mark.parametrize('poison', [PoisonPixels, PoisonGradients, PoisonLoss])
def test_run_with_bad_steps_equals_one_without_these_batches(tmp_path, poison):
    watch, runner = train(tmp_path, poison(1, 5, 6))
    expected = train_by_hand(leave_out=[1, 5, 6])
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)
    assert watch.moved == [True, False, True, True, True, False, False, True]


def test_guard_changes_nothing_without_bad_steps(tmp_path):
    guarded = train(tmp_path / 'with')[1].model.state_dict()
    torch.manual_seed(0)
    settings = dict(num_batches=BATCHES, param_scheduler=SCHEDULE)
    plain = toy_runner(
        tmp_path / 'without',
        model=NormedModel(),
        optim_wrapper=dict(optimizer=MOMENTUM),
        **settings,
    )
    plain.train()
    assert _equal(guarded, plain.model.state_dict())
    assert not (tmp_path / 'with/bad_steps').exists()
    assert 'bad_steps' not in log_of(tmp_path / 'with').split('Config:')[-1].split('Hooks will')[-1]


def test_bad_batch_drops_all_gradients_accumulated_with_it(tmp_path):
    wrapper = dict(optimizer=MOMENTUM, accumulative_counts=2)
    _, runner = train(tmp_path, PoisonPixels(2), optim_wrapper=wrapper)
    expected = train_by_hand(leave_out=[2], accumulate=2)
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)
    written = record(tmp_path, 4)
    assert [batch['iteration'] for batch in written['batches']] == [3, 4]
    assert GuardState.of(runner).total == 1


def test_bad_step_does_not_update_a_teacher(tmp_path):
    config = toy_vicmae_config()
    config['target'] = dict(type='EMATarget', momentum=0.5)
    torch.manual_seed(0)
    samples = [{'inputs': list(torch.rand(2, 3, 16, 16))} for _ in range(4 * BATCHES)]
    loader = dict(
        batch_size=4,
        dataset=samples,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    watch, runner = train(
        tmp_path,
        dict(type='TargetEMAHook'),
        PoisonPixels(1),
        model=MODELS.build(config),
        train_dataloader=loader,
        max_epochs=1,
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
    )
    assert watch.moved == [True, False, True, True]
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())


def test_skipped_steps_give_no_warning_about_schedules(tmp_path, recwarn):
    train(tmp_path, PoisonPixels(1))
    assert [w for w in recwarn if 'optimizer.step' in str(w.message)] == []


def test_guard_needs_no_model_hooks_and_no_patched_optimiser(tmp_path):
    seen = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.model._forward_hooks, runner.model._forward_pre_hooks))
            seen.append('step' in vars(runner.optim_wrapper))

    train(tmp_path, Look(), param_scheduler=None)
    assert not any(any(row) if isinstance(row, tuple) else row for row in seen)


# ------------------------------------------------------------------------- scaled losses
class Scaled(OptimWrapper):
    """AmpOptimWrapper's scaler without its autocast, which needs a GPU."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale)

    def backward(self, loss, **kwargs):
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(GuardedOptimWrapper, Scaled):
    """The same with the guard."""


def scaled(scale):
    return dict(type='ScaledOptimWrapper', scale=scale, optimizer=MOMENTUM)


def test_infinite_gradients_at_finite_losses_are_handled_by_the_scaler(tmp_path):
    _, runner = train(tmp_path, PoisonGradients(1, 2), optim_wrapper=scaled(1024.0))
    assert runner.optim_wrapper.loss_scaler.get_scale() == 256
    assert GuardState.of(runner).total == 0
    assert not (tmp_path / 'bad_steps').exists()


def test_infinite_gradients_in_bfloat16_are_counted_and_recorded_at_the_first_step(tmp_path):
    wrapper = dict(type='BFloat16OptimWrapper', optimizer=MOMENTUM)
    watch, runner = train(tmp_path, PoisonGradients(0), optim_wrapper=wrapper, max_epochs=1)
    assert watch.moved == [False, True, True, True]
    assert GuardState.of(runner).total == 1
    written = record(tmp_path, 1)
    assert math.isfinite(float(written['batches'][0]['losses']['loss_difference']))
    assert written['amp'] == dict(dtype='bfloat16', loss_scale=1.0)


def test_infinite_gradients_at_the_minimal_scale_are_bad_steps(tmp_path):
    _, runner = train(tmp_path, PoisonGradients(1, 2, 3), optim_wrapper=scaled(2.0))
    assert GuardState.of(runner).total == 2


def test_bad_loss_is_counted_and_keeps_the_scale(tmp_path):
    watch, runner = train(tmp_path, PoisonPixels(1), optim_wrapper=scaled(1024.0))
    assert runner.optim_wrapper.loss_scaler.get_scale() == 1024
    assert GuardState.of(runner).total == 1
    assert watch.moved == [True, False] + [True] * 6
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())


# ------------------------------------------------------------------------- ranks
def train_on_rank(work_dir, poison, iterations, kwargs):
    hook = {'PoisonPixels': PoisonPixels, 'PoisonLoss': PoisonLoss}[poison]
    watch, runner = train(
        work_dir, hook(*iterations, rank=1), model=ToyModel(), data_parallel=True, **kwargs
    )
    return watch.moved, runner.model.module.state_dict(), GuardState.of(runner)


@pytest.mark.parametrize(
    'poison', ['PoisonPixels', pytest.param('PoisonLoss', marks=pytest.mark.slow)]
)
def test_bad_step_of_one_rank_is_skipped_on_all(tmp_path, gloo_pool, poison):
    results = gloo_pool.run(train_on_rank, 2, tmp_path, poison, [1], {})
    (moved, weights, state), (others_moved, others_weights, others_state) = results
    assert moved == others_moved == [True, False, True, True]
    assert _equal(weights, others_weights)
    assert state == others_state
    assert state.total == 1
    assert [record(tmp_path, 2, rank)['rank'] for rank in (0, 1)] == [0, 1]
    lost = record(tmp_path, 2, 0)['batches'][0]['losses'], record(tmp_path, 2, 1)['batches'][0]
    assert all(math.isfinite(float(value)) for value in lost[0].values())
    assert 'nan' in lost[1]['losses'].values()
    assert 'on rank 1 loss' in log_of(tmp_path)


# ------------------------------------------------------------------------- counts, log, record
def test_counts_continue_after_a_resume(tmp_path):
    train(tmp_path, PoisonPixels(1, 3), max_epochs=1, checkpoints=True)
    _, runner = train(tmp_path, PoisonPixels(4), checkpoints=True, resume=True)
    state = GuardState.of(runner)
    assert (state.total, state.in_a_row) == (3, 0)
    assert '2 in a row, 3 in all' in log_of(tmp_path)


def test_warning_names_iteration_losses_gradients_and_the_record(tmp_path):
    train(tmp_path, PoisonPixels(5))
    text = log_of(tmp_path)
    assert (
        'Bad step in iteration 6 (epoch 2, batch 2): loss_difference is nan, gradients of ' in text
    )
    assert 'gradients of 4 parameters are not finite (linear.weight, linear.bias, norm' in text
    assert f"1 in a row, 1 in all. Recorded in '{tmp_path}/bad_steps/iter_6'." in text


def test_count_is_logged_from_the_first_bad_step(tmp_path):
    _, runner = train(tmp_path, PoisonPixels(2, 3))
    rows = (tmp_path / runner.timestamp / 'vis_data/scalars.json').read_text().splitlines()
    counts = [json.loads(row).get('bad_steps') for row in rows]
    assert counts == [None, None, 1, 2, 2, 2, 2, 2]


def test_record_has_all_that_a_replay_needs(tmp_path):
    _, runner = train(tmp_path, dict(type='StepSeedHook'), PoisonPixels(5), randomness=dict(seed=3))
    written = record(tmp_path, 6)
    (batch,) = written.pop('batches')
    assert (written['iteration'], written['rank'], written['world_size']) == (6, 0, 1)
    assert (batch['iteration'], batch['epoch'], batch['batch']) == (6, 2, 2)
    assert (written['seed'], written['grad_norm']) == (3, 'nan')
    assert set(written['bad_gradients']) == {n for n, _ in runner.model.named_parameters()}
    assert written['amp'] is None
    assert batch['losses'] == {'loss_difference': 'nan'}
    assert batch['samples'] == [dict(key=n, file=f'sample {n}') for n in (4, 5, 6, 7)]
    assert isinstance(batch['step_seed'], int)


def test_weights_before_consecutive_bad_steps_are_written_once(tmp_path):
    watch, _ = train(tmp_path, PoisonPixels(2, 3), dict(type='StepSeedHook'))
    assert record(tmp_path, 3)['weights'] == record(tmp_path, 4)['weights'] == '../iter_3/state.pth'
    assert not (tmp_path / 'bad_steps/iter_4/state.pth').exists()
    state = torch.load(tmp_path / 'bad_steps/iter_3/state.pth', weights_only=True)['state_dict']
    assert all(torch.equal(tensor, watch.states[2][name]) for name, tensor in state.items())


def test_number_of_written_weights_is_limited(tmp_path):
    train(tmp_path, PoisonPixels(1, 3, 5), guard=dict(max_records=2))
    found = sorted(path.parent.name for path in tmp_path.rglob('state.pth'))
    assert found == ['iter_2', 'iter_4']
    assert record(tmp_path, 6)['weights'] is None


def test_record_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    (tmp_path / 'bad_steps').touch()
    watch, _ = train(tmp_path, PoisonPixels(1))
    assert watch.moved == [True, False] + [True] * 6
    assert "Can't record it in" in log_of(tmp_path)


# ------------------------------------------------------------------------- too many
def test_run_stops_after_too_many_bad_steps_in_a_row(tmp_path):
    message = (
        r'3 steps in a row, since iteration 5, .* not finite.* recorded in .*bad_steps.*'
        r'replay.py .*bad_steps/iter_5`.*optim_wrapper.optimizer.lr.*clip_grad.*bfloat16.*'
        r'`default_hooks.step_guard.when_exceeded=rewind` goes back'
    )
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, PoisonPixels(1, 2, 4, 5, 6), guard=dict(max_bad_steps=3))


def test_bad_steps_that_are_not_consecutive_do_not_stop_the_run(tmp_path):
    _, runner = train(tmp_path, PoisonPixels(0, 1, 3, 4, 6, 7), guard=dict(max_bad_steps=3))
    assert GuardState.of(runner).total == 6


# ------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(max_bad_steps=0), '`max_bad_steps` must be at least 1, got 0'),
        (dict(check_interval=0), '`check_interval` must be at least 1, got 0'),
        (dict(when_exceeded='go on'), "`when_exceeded` must be one of stop, rewind, got 'go on'"),
        (dict(max_rewinds=-1), '`max_rewinds` must be at least 0, got -1'),
        (dict(rewind_margin=-1), '`rewind_margin` must be at least 0, got -1'),
        (dict(max_records=-1), '`max_records` must be at least 0, got -1'),
    ],
)
def test_invalid_option_of_the_guard_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StepGuardHook(**settings)


class OwnStep(GuardedOptimWrapper):
    """Steps by itself, past the guard."""

    def step(self, **kwargs):
        self.optimizer.step(**kwargs)


@pytest.mark.parametrize('wrapper', [OptimWrapper, OwnStep])
def test_optimiser_whose_step_is_not_guarded_is_refused(tmp_path, wrapper):
    model = NormedModel()
    unguarded = wrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    message = f'needs one `GuardedOptimWrapper`, got {wrapper.__name__}. Derive yours from that'
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, model=model, optim_wrapper=unguarded, param_scheduler=None)


def test_rewind_with_an_unsupported_loop_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"needs `train_cfg.type='EpochLoop'` .*, got EpochBased"):
        train(tmp_path, guard=dict(when_exceeded='rewind'))


# ------------------------------------------------------------------------- the device decides
@OPTIM_WRAPPERS.register_module()
class DeviceOptimWrapper(GuardedOptimWrapper):
    """Skips as on a GPU, where the host looks only now and then."""

    def skips_on_device(self):
        return True


class CountScalars(TorchDispatchMode):
    """Counts values that are read from tensors, where the host would wait for a GPU."""

    ops = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in self.ops
        return func(*args, **(kwargs or {}))


class CountLists(TorchFunctionMode):
    """Counts copies to the host that are no operator, or none on a CPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        tensor = torch.Tensor
        self.count += func in (tensor.tolist, tensor.numpy, tensor.cpu)
        # A `torch.device` is where the preprocessor brings a batch to.
        self.count += func is tensor.to and 'cpu' in [v for v in args[1:] if isinstance(v, str)]
        return func(*args, **(kwargs or {}))


class CountWaits(Hook):
    """Counts how often a value leaves its device from the start of each iteration to its last hook."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.counts = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.modes = CountScalars(), CountLists()
        for mode in self.modes:
            mode.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for mode in reversed(self.modes):
            mode.__exit__(None, None, None)
        self.counts.append(sum(mode.count for mode in self.modes))


# `eps` keeps gradients that are nothing but rounding from moving weights.
FUSED = dict(type='AdamW', lr=0.01, eps=0.01, fused=True)


def on_device(**settings):
    return dict(type='DeviceOptimWrapper', optimizer=FUSED, **settings)


def on_host(**settings):
    return dict(optimizer=FUSED, **settings)


def same_on_both(tmp_path, *hooks, interval=3, settings=None, **kwargs):
    """Trains with the device deciding and with the host; asserts that they end alike, and returns both runners."""
    settings = settings or {}
    guard = dict(check_interval=interval, **kwargs.pop('guard', {}))
    runners = [
        train(
            tmp_path / where.__name__,
            *hooks,
            guard=guard,
            optim_wrapper=where(**settings),
            **{**kwargs, 'model': kwargs['model']()} if 'model' in kwargs else kwargs,
        )[1]
        for where in (on_device, on_host)
    ]
    device, host = (runner.model.state_dict() for runner in runners)
    for name, tensor in host.items():
        torch.testing.assert_close(device[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    moments = [runner.optim_wrapper.optimizer.state_dict()['state'] for runner in runners]
    for number, state in moments[1].items():
        for name, value in state.items():
            torch.testing.assert_close(moments[0][number][name], value)
    return runners


@pytest.mark.parametrize('poison', [PoisonPixels, PoisonGradients, PoisonLoss])
def test_device_skips_the_same_steps_as_the_host(tmp_path, poison):
    settings = dict(clip_grad=dict(max_norm=0.5))
    device, host = same_on_both(tmp_path, poison(0, 3, 4), settings=settings)
    assert GuardState.of(device).total == GuardState.of(host).total == 3
    watch, _ = train(tmp_path / 'again', poison(1, 5, 6), optim_wrapper=on_device())
    assert watch.moved == [True, False, True, True, True, False, False, True]


def test_device_drops_all_that_was_accumulated_with_a_bad_batch(tmp_path):
    device, _ = same_on_both(tmp_path, PoisonPixels(2), settings=dict(accumulative_counts=2))
    assert GuardState.of(device).total == 1
    (row,) = [json.loads(p.read_text()) for p in (tmp_path / 'on_device').rglob('rank_0.json')]
    assert [batch['iteration'] for batch in row['batches']] == [3, 4]


def test_device_does_not_update_a_teacher_in_a_bad_step(tmp_path):
    config = toy_vicmae_config()
    config['target'] = dict(type='EMATarget', momentum=0.5)
    torch.manual_seed(0)
    loader = dict(
        batch_size=4,
        dataset=[{'inputs': list(torch.rand(2, 3, 16, 16))} for _ in range(4 * BATCHES)],
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )

    def model():
        torch.manual_seed(0)
        return MODELS.build(config)

    options = dict(model=model, train_dataloader=loader, max_epochs=1, randomness=dict(seed=0))
    hooks = dict(type='TargetEMAHook'), dict(type='StepSeedHook'), PoisonPixels(1)
    same_on_both(tmp_path, *hooks, **options)
    watch, _ = train(
        tmp_path / 'again',
        *hooks,
        optim_wrapper=on_device(),
        **{**options, 'model': model()},
    )
    assert watch.moved == [True, False, True, True]


def count_waits(work_dir, model, samples, wrapper, log_every):
    """How often the host waited in each of 12 steps."""
    counter = CountWaits()
    toy_runner(
        work_dir,
        max_epochs=1,
        model=model,
        train_dataloader=dict(
            batch_size=4,
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=wrapper,
        hooks=[
            StepGuardHook(check_interval=4),
            dict(type='TargetEMAHook'),
            dict(type='StepSeedHook'),
            counter,
        ],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=log_every), checkpoint=None),
    ).train()
    return counter.counts


def test_host_waits_for_the_device_only_at_intervals(tmp_path):
    config = toy_vicmae_config()
    config['target'] = dict(type='EMATarget')
    pictures = [{'inputs': list(torch.rand(2, 3, 16, 16))} for _ in range(48)]
    wrapper = on_device(clip_grad=dict(max_norm=1.0))
    waits = count_waits(tmp_path, MODELS.build(config), pictures, wrapper, log_every=6)
    assert [number for number, count in enumerate(waits, start=1) if count] == [1, 4, 6, 8, 12]


def test_host_waits_once_per_step_if_it_decides(tmp_path):
    samples = [{'inputs': list(torch.randn(2, 2))} for _ in range(48)]
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    waits = count_waits(tmp_path, ToyModel(), samples, wrapper, log_every=6)
    assert [count for number, count in enumerate(waits, start=1) if number % 6] == [2] + [1] * 9


@pytest.mark.parametrize(('interval', 'last'), [(1, 6), (4, 8), (100, 12)])
def test_stop_is_at_most_an_interval_late_and_names_the_step(tmp_path, interval, last):
    seen = []

    class Seen(Hook):
        priority = 'VERY_HIGH'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(runner.iter + 1)

    message = r'3 steps in a row, since iteration 4, .*replay.py .*bad_steps/iter_4`'
    with pytest.raises(TrainingError, match=message):
        train(
            tmp_path,
            Seen(),
            PoisonPixels(3, 4, 5, 7),
            guard=dict(max_bad_steps=3, check_interval=interval),
            max_epochs=3,
            num_batches=12,
            optim_wrapper=on_device(),
        )
    assert seen[-1] == last
    records = sorted(path.name for path in (tmp_path / 'bad_steps').glob('iter_*'))
    assert records == ['iter_4', 'iter_5', 'iter_6']
    samples = record(tmp_path, 5)['batches'][0]['samples']
    assert [sample['key'] for sample in samples] == [16, 17, 18, 19]


def test_weights_updated_before_the_check_are_recorded_as_later(tmp_path):
    train(tmp_path, PoisonPixels(1), optim_wrapper=on_device())
    assert record(tmp_path, 2)['weights'] == '../iter_2/later_state.pth'
    assert (tmp_path / 'bad_steps/iter_2/later_state.pth').exists()
    train(tmp_path / 'row', PoisonPixels(2, 3), optim_wrapper=on_device())
    assert record(tmp_path / 'row', 3)['weights'] == '../iter_3/state.pth'


def test_checkpoint_includes_all_earlier_bad_steps(tmp_path):
    options = dict(optim_wrapper=on_device(), guard=dict(check_interval=100))
    checkpoint = dict(type='SafeCheckpointHook', by_epoch=False, interval=1)
    hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=checkpoint)
    train(tmp_path, PoisonPixels(1), default_hooks=hooks, **options)
    saved = torch.load(tmp_path / 'iter_3.pth', weights_only=True)
    assert saved['message_hub']['runtime_info']['step_guard']['total'] == 1


def train_on_rank_and_device(work_dir):
    watch, runner = train(
        work_dir,
        PoisonPixels(1, rank=1),
        model=ToyModel(),
        data_parallel=True,
        optim_wrapper=on_device(),
    )
    return watch.moved, runner.model.module.state_dict(), GuardState.of(runner)


def test_device_skips_a_bad_step_of_one_rank_on_all(tmp_path, gloo_pool):
    (moved, weights, state), others = gloo_pool.run(train_on_rank_and_device, 2, tmp_path)
    assert moved == others[0] == [True, False, True, True]
    assert _equal(weights, others[1]) and state == others[2]
    assert state.total == 1
    assert [record(tmp_path, 2, rank)['rank'] for rank in (0, 1)] == [0, 1]
