# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features: computed once, the same whatever the batches and ranks, and reused only where nothing differs."""

import itertools
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from torch import nn

from vicmae.engine import VicmaeRunner
from vicmae.engine.sharding import FullyShard
from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

EVALUATORS = (
    dict(type='KNNAccuracy', k=[1, 3]),
    dict(type='LogisticAccuracy'),
    dict(type='LinearProbeAccuracy', lrs=(0.1, 0.3, 1.0), epochs=5),
)
_numbers = itertools.count()


class Encoder(nn.Module):
    """Counts what it is asked, and how."""

    def __init__(self, model):
        super().__init__()
        self.asked, self.training_seen, self.grads_seen = 0, set(), set()
        forward = model.extract_feat

        def extract_feat(frames):
            self.asked += len(frames)
            self.training_seen |= {m.training for m in model.modules()}
            features = forward(frames)
            self.grads_seen.add(features.requires_grad)
            return features

        model.extract_feat = extract_feat


class Kept(BaseMetric):
    """Keeps the features that it is handed."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results += [(s['path'], s['feature'].numpy()) for s in data_samples]

    def compute_metrics(self, results):
        self.kept = results
        return dict(number=len(results))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Seven and five pictures of each of three classes, and one file that is none."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for part, number in dict(bank=7, query=5).items():
        for label in range(3):
            folder = root / part / f'class{label}'
            folder.mkdir(parents=True)
            for i in range(number):
                noise = rng.integers(0, 100, (20, 20, 3)) + rng.integers(0, 100, 3)
                noise[..., label] += 40
                cv2.imwrite(str(folder / f'{i}.png'), noise.astype(np.uint8))
    (root / 'query/class1/broken.png').write_bytes(b'no picture')
    return root


def make_runner(work_dir, images, *, evaluators=EVALUATORS, ratio=0.9, seed=0, wrap=None, **test):
    crop = dict(type='CenterCrop', size=16, crop_ratio=ratio)
    pipeline = [dict(type='LoadImage'), crop, dict(type='PackClip')]
    sources = {
        role: dict(
            type='ImageFolder',
            data_root=str(images / role),
            with_labels=True,
            tags=dict(probe='images', role=role),
            pipeline=pipeline,
        )
        for role in ('bank', 'query')
    }
    loader = dict(
        batch_size=test.pop('batch_size', 4),
        num_workers=0,
        max_bad_fraction=1.0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='MixedDataset', sources=sources),
    )
    cfg = {'type': 'FeatureTestLoop', 'cache_dir': str(work_dir / 'features'), **test}
    torch.manual_seed(seed)
    model = randomize(MODELS.build(toy_vicmae_config()))
    runner = VicmaeRunner(
        model=model if wrap is None else wrap(model),
        work_dir=str(work_dir),
        test_dataloader=loader,
        test_cfg=cfg,
        test_evaluator=list(evaluators),
        default_scope='vicmae',
        experiment_name=f'features-{next(_numbers)}',
        cfg=dict(test_dataloader=loader, test_cfg=cfg, model=toy_vicmae_config()),
    )
    return runner, Encoder(model)


def test_features_are_computed_in_evaluation_mode_without_gradients(tmp_path, images):
    runner, encoder = make_runner(tmp_path, images)
    runner.model.train()
    runner.test()
    assert encoder.asked == 36
    assert encoder.training_seen == {False}
    assert encoder.grads_seen == {False}


def test_second_evaluation_uses_the_cache(tmp_path, images):
    first = make_runner(tmp_path, images)[0].test()
    runner, encoder = make_runner(tmp_path, images)
    assert runner.test() == first
    assert encoder.asked == 0
    assert first['images/knn1_top1'] > 50


@pytest.mark.parametrize('changes', [dict(seed=1), dict(ratio=0.6), dict(over_time='statistics')])
def test_other_weights_or_another_protocol_are_computed_again(tmp_path, images, changes):
    if 'over_time' in changes:
        changes = dict(over_time=dict(type='StatisticsOverTime'))
    make_runner(tmp_path, images)[0].test()
    runner, encoder = make_runner(tmp_path, images, **changes)
    runner.test()
    assert encoder.asked == 36
    assert len(list((tmp_path / 'features').glob('*.pth'))) == 2


def test_other_data_are_computed_again(tmp_path, images):
    own = shutil.copytree(images, tmp_path / 'images')
    make_runner(tmp_path, own)[0].test()
    cv2.imwrite(str(own / 'query/class0/0.png'), np.full((20, 20, 3), 9, np.uint8))
    runner, encoder = make_runner(tmp_path, own)
    runner.test()
    assert encoder.asked == 36


def test_another_evaluator_or_batch_size_reuses_the_features(tmp_path, images):
    make_runner(tmp_path, images)[0].test()
    runner, encoder = make_runner(
        tmp_path, images, batch_size=9, evaluators=[dict(type='KNNAccuracy', k=5)]
    )
    assert runner.test().keys() >= {'images/knn_top1'}
    assert encoder.asked == 0


@pytest.mark.parametrize('batch_size', [1, 5, 64])
def test_batch_size_does_not_change_the_metrics(tmp_path, images, batch_size):
    expected = make_runner(tmp_path / 'one', images, cache_dir=None)[0].test()
    figures = make_runner(tmp_path, images, cache_dir=None, batch_size=batch_size)[0].test()
    assert figures == pytest.approx(expected, abs=1e-3)


def _test_on_each_rank(work_dir, images):
    return make_runner(work_dir, images)[0].test()


@pytest.mark.slow
def test_number_of_ranks_does_not_change_the_metrics(gloo_pool, tmp_path, images):
    expected = make_runner(tmp_path / 'one', images)[0].test()
    for world_size in (2, 3):
        each = gloo_pool.run(
            _test_on_each_rank, world_size, tmp_path / f'{world_size} ranks', images
        )
        assert each[0] == pytest.approx(expected, abs=1e-3)
        assert all(figures == each[0] for figures in each)


def _test_sharded(work_dir, images, wrap=FullyShard):
    own = dict(batch_size=1, cache_dir=None, evaluators=EVALUATORS[:1], wrap=wrap)
    return make_runner(work_dir, images, **own)[0].test()


def _redrawn(model):
    model.init_weights()
    return model


@pytest.mark.slow
def test_batch_without_a_readable_file_does_not_block_sharded_ranks(gloo_pool, tmp_path, images):
    expected = _test_sharded(tmp_path / 'one', images, _redrawn)
    for figures in gloo_pool.run(_test_sharded, 2, tmp_path, images, timeout=100):
        assert figures == pytest.approx(expected, abs=1e-3)
    assert len((tmp_path / 'bad_files.jsonl').read_text().splitlines()) == 1


def _test_sharded_with_cache(work_dir, images):
    runner, _ = make_runner(work_dir, images, evaluators=EVALUATORS[:1], wrap=FullyShard)
    return runner.test()


@pytest.mark.slow
def test_features_of_a_sharded_model_have_the_cache_key_of_the_unsharded_one(
    gloo_pool, tmp_path, images
):
    first = gloo_pool.run(_test_sharded_with_cache, 2, tmp_path, images, timeout=100)
    second = gloo_pool.run(_test_sharded_with_cache, 2, tmp_path, images, timeout=100)
    assert first == second
    assert len(list((tmp_path / 'features').glob('*.pth'))) == 1


def test_unreadable_samples_are_reported_and_cached(tmp_path, images, capsys):
    for expected in ('1 more could not be read; delete the file', '1 more could not be read then'):
        make_runner(tmp_path, images)[0].test()
        assert expected in capsys.readouterr().out


def test_over_time_joins_the_time_steps_of_a_backbone_that_takes_clips(tmp_path, images):
    kept = Kept()
    over_time = dict(type='StatisticsOverTime')
    runner, _ = make_runner(tmp_path, images, evaluators=[kept], over_time=over_time)
    runner.model.backbone = MODELS.build(
        dict(toy_vicmae_config()['backbone'], num_frames=4, tubelet_size=2)
    )
    runner.test()
    features = np.stack([feature for _, feature in kept.kept])
    # An image is one time step, so nothing changes.
    assert features.shape == (36, 48)
    assert not features[:, 16:].any() and features[:, :16].all()


def test_each_sample_comes_once_in_the_order_of_paths(gloo_pool, tmp_path, images):
    metric = Kept()
    make_runner(tmp_path, images, evaluators=[metric])[0].test()
    paths = [path for path, _ in metric.kept]
    assert paths == sorted(paths) and len(set(paths)) == 36


def test_truncated_cache_is_computed_again(tmp_path, images, capsys):
    first = make_runner(tmp_path, images)[0].test()
    (kept,) = (tmp_path / 'features').glob('*.pth')
    kept.write_bytes(kept.read_bytes()[:-100])
    runner, encoder = make_runner(tmp_path, images)
    assert runner.test() == first
    assert encoder.asked == 36
    assert 'The features are computed again' in capsys.readouterr().out


def test_cache_that_cannot_be_written_does_not_stop_the_evaluation(tmp_path, images, capsys):
    (tmp_path / 'features').write_text('a file, where the folder should be')
    figures = make_runner(tmp_path, images)[0].test()
    assert figures['images/knn1_top1'] > 50
    assert 'The features are not stored' in capsys.readouterr().out


def test_model_without_features_is_refused(tmp_path, images):
    runner, _ = make_runner(tmp_path, images)
    runner.model.predict = lambda inputs, data_samples: data_samples
    with pytest.raises(ConfigError, match='ViCMAE gives none. `test_cfg.type=TestLoop`'):
        runner.test()
