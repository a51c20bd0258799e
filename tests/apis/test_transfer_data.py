# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Progress, rates, pages and replay count and show the samples of each kind of transfer."""

import numpy as np
import pytest
import torch

from vicmae.apis import build_runner, load_config
from vicmae.apis.train_data import build_train_loader
from vicmae.config.paths import project_file
from vicmae.data_tools.browse import browse
from vicmae.data_tools.browse_page import render_browsed
from vicmae.data_tools.speed.rate import samples_per_second
from vicmae.engine.hooks import ProgressHook
from vicmae.health.replay import replay
from vicmae.io.video import open_video
from vicmae.models.parts import build_preprocessor
from vicmae.testing import PoisonGradients, toy_runner

FEW = {'train_dataloader.dataset.max_per_class': 3, 'train_dataloader.dataset.subset_seed': 0}
KINDS = {
    'finetune': {},
    'linear': {},
    'attentive': {},
    'linear of three images a class': FEW,
    'finetune-video': {},
    'linear-video': {},
    'attentive-video': {},
}
every_kind = pytest.mark.parametrize('kind', KINDS)


def load(kind, place, changes=None):
    """A transfer config on demo data that are there."""
    name = f'vicmae_vit-tiny-p8_{kind.split()[0]}_debug.py'
    cfg = load_config(
        project_file(f'configs/vicmae/benchmarks/{name}'), {**KINDS[kind], **(changes or {})}
    )
    cfg.pop('demo_data')
    for part in ('train_dataloader', 'val_dataloader'):
        cfg[part].dataset.data_root = str(place / cfg[part].dataset.data_root)
        cfg[part].update(num_workers=0, persistent_workers=False)
        cfg[part].pop('prefetch_factor', None)
    return cfg


@pytest.fixture(scope='module')
def place(demo_data):
    return demo_data.parents[1]


@every_kind
def test_progress_and_rate_count_samples(kind, place, tmp_path, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')  # as on a terminal
    loader = build_train_loader(load(kind, place), num_workers=0)
    hook, runner = ProgressHook(), toy_runner(tmp_path)
    hook.before_train(runner)
    monkeypatch.setattr('time.monotonic', lambda: hook._last + 2.0)
    hook.after_train_iter(runner, 0, next(iter(loader)))
    (shown,) = (task.fields['rate'] for task in hook._progress.tasks)
    hook.stop()
    assert shown == '4/s'  # a batch of eight in two seconds
    times = iter([0.0, 2.0])
    assert samples_per_second(loader, 1.0, clock=lambda: next(times)) == 4


@pytest.mark.parametrize(
    'kind', [pytest.param(k, marks=pytest.mark.slow) if 'attentive' in k else k for k in KINDS]
)
def test_page_shows_the_views_of_the_model(kind, place):
    cfg = load(kind, place)
    (source,) = browse(cfg, number=8)
    assert not source.bad and len(source.samples) == 8
    loader = build_train_loader(cfg, num_workers=0)
    preprocessor = build_preprocessor(cfg.model.data_preprocessor, cfg.model.head)
    torch.manual_seed(0)
    batch = preprocessor(next(iter(loader)), training=True)
    for sample in source.samples:
        (pixels,) = batch.sample(sample.place)
        frames = preprocessor.denormalize(pixels)
        frames = (frames if frames.ndim == 4 else frames[None]).permute(0, 2, 3, 1).numpy()
        chosen = np.linspace(0, len(frames) - 1, min(4, len(frames))).round().astype(int)
        for view, n in zip(sample.views, chosen, strict=True):
            np.testing.assert_array_equal(view.view, frames[n])
            assert view.visible is None
            if 'video' in kind:
                assert view.frame_id == sample.frame_ids[n]
                with open_video(sample.path) as video:
                    np.testing.assert_array_equal(view.frame, video.frames([view.frame_id])[0])
        assert ('%' in sample.label) == ('finetune' in kind)  # mixed with another
    page = render_browsed([source], config=kind, epoch=0, facts={})
    assert ('clip of' in page) == ('video' in kind)
    assert all(sample.path in page for sample in source.samples)


@pytest.mark.parametrize(
    'kind', ['finetune', pytest.param('finetune-video', marks=pytest.mark.slow)]
)
def test_fine_tuning_counts_its_samples_and_a_bad_step_of_it_is_replayed(
    kind, place, tmp_path, monkeypatch
):
    monkeypatch.setenv('FORCE_COLOR', '1')
    cfg = load(kind, place, {'train_cfg.max_epochs': 1})
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    runner = build_runner(cfg, training=True)
    runner.register_hook(PoisonGradients(1))
    runner.train()
    (bar,) = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
    assert bar._meters['train'][1] == 8 * runner.iter == len(runner.train_dataloader) * 8

    result = replay(tmp_path / 'bad_steps/iter_2')
    assert result.exact and result.finite
    (recorded,) = result.record['batches']
    assert len(result.views) == 8
    assert len({sample['file'] for sample in recorded['samples']}) > 1
    for (view,) in result.views:
        low, high = map(float, view.split(' .. '))
        assert -4 < low < high < 4
    assert result.losses == [{'loss': float(recorded['losses']['loss'])}]
