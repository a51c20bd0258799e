# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features of a whole data set."""

import pytest
import torch

from vicmae.apis import encode_files, extract_features, load_clips, load_config, load_model
from vicmae.config.paths import project_file
from vicmae.registry import DATASETS

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')


@pytest.fixture(scope='module')
def model():
    return load_model(DEBUG)


@pytest.fixture
def queries(demo_data, monkeypatch):
    """Builds one of the debug config's data sets for the test."""
    monkeypatch.chdir(demo_data.parents[1])
    sources = load_config(DEBUG).test_dataloader.dataset.sources
    return lambda kind: DATASETS.build(sources[f'{kind}_query'])


@pytest.mark.parametrize(('kind', 'count'), [('image', 16), ('video', 8)])
def test_each_sample_has_its_feature_label_and_origin_in_order(model, queries, kind, count):
    dataset = queries(kind)
    found = extract_features(model, dataset, batch_size=5)
    assert found.features.shape == (count, 64)
    assert found.labels.tolist() == [dataset.get_data_info(i)['gt_label'] for i in range(count)]
    assert [m['path'] for m in found.meta] == [
        dataset.get_data_info(i)['path'] for i in range(count)
    ]
    assert {(m['probe'], m['role'], m['kind']) for m in found.meta} == {(f'{kind}s', 'query', kind)}


def test_feature_of_a_video_is_the_mean_over_its_frames(model, queries):
    dataset = queries('video')
    found = extract_features(model, dataset)
    clip = dataset[2]['inputs']  # (T, C, H, W)
    with torch.no_grad():
        frames = model.extract_feat(model.data_preprocessor.normalize(clip))
    assert torch.allclose(found.features[2], frames.mean(dim=0), atol=1e-5)


def test_features_do_not_depend_on_batches_or_workers(model, queries):
    dataset = queries('image')
    one_by_one = extract_features(model, dataset, batch_size=1)
    together = extract_features(model, dataset, batch_size=16, num_workers=1)
    assert torch.allclose(one_by_one.features, together.features, atol=1e-5)


def test_extraction_trains_nothing_and_needs_no_gradients(model, queries):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    found = extract_features(model, queries('image'))
    assert not found.features.requires_grad
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_files_are_encoded_as_their_frames_are(demo_data):
    model = load_model(DEBUG)
    folder = demo_data / 'videos/val'
    paths = [str(p) for p in (next(demo_data.rglob('*.jpg')), next(folder.rglob('*.mp4')))]
    features = encode_files(model, paths, num_frames=3)
    assert features.shape == (2, model.backbone.embed_dims)
    assert not features.requires_grad
    image, video = load_clips(paths, 64, num_frames=3)
    assert (len(image), len(video)) == (1, 3)
    with torch.no_grad():
        frames = model.extract_feat(model.data_preprocessor.normalize(video))
    torch.testing.assert_close(features[1], frames.mean(dim=0))
