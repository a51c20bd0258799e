# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A step of a real run that was skipped, run again alone."""

import io
import json
import math
import shutil

import pytest
import torch
from mmengine.hooks import Hook
from rich.console import Console

from vicmae.apis import build_runner, load_config
from vicmae.apis.train_data import build_train_loader
from vicmae.config.paths import project_file
from vicmae.datasets import SampleKey
from vicmae.errors import CheckpointError, ConfigError, DataError
from vicmae.health.replay import print_replay, range_of, replay
from vicmae.registry import MODELS
from vicmae.testing import PoisonLoss

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
WEIGHT = 'backbone.layers.1.ffn.layers.1.weight'


class Losses(Hook):
    """Keeps what the run logged, and the norm of gradients."""

    def __init__(self):
        self.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rows.append({name: value.item() for name, value in outputs.items()})


class PoisonWeight(Hook):
    """Makes a weight infinite before an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            runner.model.get_parameter(WEIGHT).data[0, 0] = math.inf


def train(work_dir, hook, overrides=None):
    """Trains the debug config; returns what `Losses` saw."""
    cfg = load_config(DEBUG, {'train_cfg.max_epochs': 1, **(overrides or {})})
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner = build_runner(cfg, training=True)
    losses = Losses()
    runner.register_hook(losses)
    runner.register_hook(hook, priority='VERY_HIGH')
    runner.train()
    return losses.rows


@pytest.fixture(scope='module')
def place(demo_data):
    return demo_data.parents[1]


@pytest.fixture
def here(place, monkeypatch):
    """Where the data of the debug config are."""
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope='module')
def good(place, tmp_path_factory):
    """A run whose sixth step was skipped for a loss that has nothing to do with the model, and its losses."""
    work_dir = tmp_path_factory.mktemp('good')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        rows = train(work_dir, PoisonLoss(5))
    return work_dir, rows


@pytest.fixture(scope='module')
def broken(place, tmp_path_factory):
    """A run whose weight became infinite before the sixth step."""
    work_dir = tmp_path_factory.mktemp('broken')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        train(work_dir, PoisonWeight(5))
    return work_dir


def text_of(result):
    console = Console(file=io.StringIO(), width=200)
    print_replay(result, console)
    return console.file.getvalue()


def test_replay_gives_the_losses_of_the_run_bit_for_bit(good, here):
    work_dir, rows = good
    result = replay(work_dir / 'bad_steps/iter_6')
    (losses,) = result.losses
    assert set(losses) >= {'loss_reconstruction', 'loss_contrastive'}
    assert losses == {name: rows[5][name] for name in losses}
    recorded = {name: float(v) for name, v in result.record['batches'][0]['losses'].items()}
    assert recorded.items() >= losses.items()
    assert result.exact and result.finite
    assert result.bad_module is None
    assert result.bad_gradients == result.bad_weights == []
    written = json.loads((work_dir / 'bad_steps/iter_6/rank_0.json').read_text())
    assert result.grad_norm == float(written['grad_norm'])


def test_accumulated_batches_are_replayed_together(tmp_path, here):
    rows = train(tmp_path, PoisonLoss(5), {'optim_wrapper.accumulative_counts': 2})
    result = replay(tmp_path / 'bad_steps/iter_6')
    assert result.losses == [{name: row[name] for name in result.losses[0]} for row in rows[4:6]]
    written = json.loads((tmp_path / 'bad_steps/iter_6/rank_0.json').read_text())
    assert result.grad_norm == float(written['grad_norm'])


MIXED = {
    'train_dataloader.dataset.sources.videos.pipeline': [
        dict(type='OpenVideo'),
        dict(type='DistantClips', num_segments=2, clip_len=4, frame_stride=1),
        dict(type='DecodeFrames'),
        dict(type='ClipViews', transforms=[dict(type='RandomResizedCrop', size=64)]),
        dict(type='PackViews'),
    ],
    'train_dataloader.collate_fn': dict(type='collate_by_kind'),
    'model.backbone.num_frames': 4,
    'model.backbone.tubelet_size': 2,
    'val_dataloader': None,
}


@pytest.mark.slow
def test_batch_of_images_and_clips_is_replayed_bit_for_bit(tmp_path, here):
    rows = train(tmp_path, PoisonLoss(5), MIXED)
    result = replay(tmp_path / 'bad_steps/iter_6')
    assert result.losses == [{name: rows[5][name] for name in result.losses[0]}]
    assert result.exact
    # The views of each sample are beside its file.
    samples = result.record['batches'][0]['samples']
    cfg = load_config(DEBUG, MIXED)
    source = build_train_loader(cfg, num_workers=0).dataset
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    for sample, views in zip(samples, result.views, strict=True):
        packed = source[SampleKey(*sample['key'])]['inputs']
        clips = [view.unsqueeze(1) if view.ndim == 3 else view for view in packed]  # (C, T, H, W)
        assert views == [range_of(preprocessor.normalize(clip.transpose(0, 1))) for clip in clips]


def test_what_the_model_draws_is_drawn_again(tmp_path, here):
    draws = {'backbone.drop_path_rate': 0.5, 'head.contrastive.type': 'SIGRegLoss'}
    rows = train(tmp_path, PoisonLoss(1), {f'model.{name}': draws[name] for name in draws})
    (losses,) = replay(tmp_path / 'bad_steps/iter_2').losses
    assert losses == {name: rows[1][name] for name in losses}


def test_replay_finds_the_module_at_which_a_step_stops_being_finite(broken, here):
    result = replay(broken / 'bad_steps/iter_6')
    assert not result.finite
    name, kind, inputs = result.bad_module
    assert (name, kind) == (WEIGHT.removesuffix('.weight'), 'Linear')
    low, high = map(float, inputs.split(' .. '))  # and nothing that is not finite
    assert low < high
    assert result.bad_weights == [WEIGHT]
    assert WEIGHT in result.bad_gradients
    text = text_of(result)
    assert f'not finite is that of {WEIGHT.removesuffix(".weight")} (Linear). Its input: -' in text
    assert f'1 weights or buffers that are not finite themselves: {WEIGHT}.' in text
    assert 'The step is not finite here.' in text


def test_samples_are_those_of_the_batch_with_the_range_of_each_view(good, here):
    result = replay(good[0] / 'bad_steps/iter_6')
    written = json.loads((good[0] / 'bad_steps/iter_6/rank_0.json').read_text())
    samples = written['batches'][0]['samples']
    assert len(result.views) == len(samples) == 8
    assert {sample['file'].rpartition('.')[2] for sample in samples} == {'jpg', 'mp4'}
    for views in result.views:
        for low, high in (map(float, view.split(' .. ')) for view in views):
            assert -3 < low < high < 3
    text = text_of(result)
    assert all(sample['file'].rpartition('/')[2] in text for sample in samples)
    assert 'The step is finite here.' in text


def test_replay_of_bfloat16_gives_the_losses_of_the_run_bit_for_bit(here, tmp_path):
    rows = train(tmp_path, PoisonLoss(1), {'optim_wrapper.type': 'BFloat16OptimWrapper'})
    result = replay(tmp_path / 'bad_steps/iter_2')
    (losses,) = result.losses
    assert result.exact
    assert losses == {name: rows[1][name] for name in losses}


def test_other_weights_or_another_precision_are_said_to_be_other(good, here):
    work_dir, rows = good
    result = replay(work_dir / 'bad_steps/iter_6', checkpoint=work_dir / 'iter_4.pth')
    assert result.losses[0]['loss_reconstruction'] != rows[5]['loss_reconstruction']
    assert 'Weights or seeds are not those of the run' in text_of(result)
    halves = replay(work_dir / 'bad_steps/iter_6', amp=True).losses[0]
    assert halves['loss_reconstruction'] == pytest.approx(rows[5]['loss_reconstruction'], rel=0.02)
    assert halves['loss_reconstruction'] != rows[5]['loss_reconstruction']


def changed(work_dir, tmp_path, **changes):
    """A copy of a record, with changes."""
    shutil.copytree(work_dir / 'bad_steps', tmp_path / 'bad_steps')
    copy = tmp_path / 'bad_steps/iter_6'
    path = copy / 'rank_0.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return copy


def test_batch_of_one_of_many_ranks_is_said_to_lack_the_negatives_of_others(good, here, tmp_path):
    record = changed(good[0], tmp_path, world_size=4)
    text = text_of(replay(record))
    assert (
        'The run had 4 ranks. This is the batch of rank 0 alone: the contrastive loss lacks' in text
    )


def test_record_that_is_gone_is_named(good, here, tmp_path):
    record = changed(good[0], tmp_path)
    (record / 'rank_0.json').unlink()
    with pytest.raises(DataError, match="no record '.*rank_0.json'; there: none. Give a folder"):
        replay(record)


def test_record_that_is_torn_is_named(good, here, tmp_path):
    record = changed(good[0], tmp_path)
    (record / 'rank_0.json').write_text('{"iteration": 6, "epo')
    with pytest.raises(DataError, match=r"rank_0.json' is truncated or corrupt: .* Use another"):
        replay(record)


def test_weights_that_are_gone_are_named(good, here, tmp_path):
    record = changed(good[0], tmp_path)
    (record / 'state.pth').unlink()
    with pytest.raises(CheckpointError, match=r'no weights .*state.pth.*--checkpoint WORK_DIR/'):
        replay(record)


def test_record_without_samples_is_refused(good, here, tmp_path):
    record = changed(good[0], tmp_path, batches=[])
    with pytest.raises(DataError, match='names no samples: nothing to run'):
        replay(record)


def test_data_that_are_gone_are_named_with_the_folder_of_the_run(good, here, tmp_path, monkeypatch):
    record = changed(good[0], tmp_path)
    (path,) = record.parent.glob('config_*.py')
    cfg = load_config(path)
    del cfg._cfg_dict['demo_data']  # which would be made again
    cfg.dump(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r'does not exist.* run was started in .*: relative paths'):
        replay(record)


def test_weights_that_were_not_written_are_asked_for(good, here, tmp_path):
    record = changed(good[0], tmp_path, weights=None)
    with pytest.raises(CheckpointError, match=r'`max_records` others had them.*--checkpoint'):
        replay(record)


def test_rank_that_was_not_there_is_refused_with_those_that_were(good, here):
    with pytest.raises(DataError, match='no record .*rank_3.json.*; there: rank_0.json'):
        replay(good[0] / 'bad_steps/iter_6', rank=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_device_that_is_not_there_is_refused(good):
    with pytest.raises(ConfigError, match="'cuda' needs a GPU; got 'cuda'"):
        replay(good[0] / 'bad_steps/iter_6', device='cuda')


def test_range_counts_what_is_not_finite_apart():
    values = torch.tensor([1.0, math.nan, -2.5, math.inf])
    assert range_of([values, torch.zeros(2)]) == '-2.5 .. 1, 2 not finite'
    assert range_of([]) == 'nan .. nan'
