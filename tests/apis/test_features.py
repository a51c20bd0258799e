# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features of a whole data set."""

import re
import shutil
import weakref

import pytest
import torch

from vicmae.apis import encode_files, extract_features, load_clips, load_config, load_model
from vicmae.config.paths import project_file
from vicmae.errors import DataError
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


def test_files_are_encoded_like_their_frames(demo_data):
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


@pytest.fixture
def folder(demo_data, tmp_path):
    """Five images, one in a sub-folder, a video and a text."""
    images = sorted(demo_data.rglob('*.jpg'))
    (tmp_path / 'more').mkdir()
    for number, image in enumerate(images[:5]):
        shutil.copy(image, tmp_path / ('more' if number == 2 else '.') / f'{number}.jpg')
    shutil.copy(next(demo_data.rglob('*.mp4')), tmp_path / 'clip.mp4')
    (tmp_path / 'notes.txt').write_text('no picture')
    return tmp_path


def test_folder_is_encoded_as_its_files_in_batches_of_any_size(model, folder):
    features, files = encode_files(model, folder, batch_size=4, return_paths=True)
    names = ['0.jpg', '1.jpg', '3.jpg', '4.jpg', 'clip.mp4', 'more/2.jpg']
    assert files == [str(folder / name) for name in names]
    torch.testing.assert_close(features, encode_files(model, files))
    torch.testing.assert_close(features[4:5], encode_files(model, files[4]))


def test_model_of_clips_encodes_images_and_whole_clips(folder):
    model = load_model('omnimae_vit-tiny-p8_debug')
    features, files = encode_files(model, folder, return_paths=True)
    for feature, clip in zip(features, load_clips(files, 64, num_frames=4), strict=True):
        pixels = model.data_preprocessor.normalize(clip).transpose(0, 1)[None]
        with torch.no_grad():
            torch.testing.assert_close(feature, model.extract_feat(pixels)[0])


def test_bad_file_is_named_or_left_out(model, folder, log):
    (folder / '1.jpg').write_bytes(b'torn')
    with pytest.raises(DataError, match=r"'.*/1\.jpg'"):
        encode_files(model, folder)
    features, files = encode_files(
        model, folder, on_bad_file='skip', batch_size=2, return_paths=True
    )
    assert str(folder / '1.jpg') not in files and len(files) == len(features) == 5
    torch.testing.assert_close(features, encode_files(model, files))
    assert any(re.search(r"Left out 1 of 6 files that can't be read: .*1\.jpg", m) for m in log)
    with pytest.raises(DataError, match='None of the 1 files can be read'):
        encode_files(model, folder / '1.jpg', on_bad_file='skip')


def test_nothing_to_encode_is_one_clear_error(model, tmp_path):
    with pytest.raises(DataError, match='`paths` is empty. Give images'):
        encode_files(model, [])
    with pytest.raises(DataError, match='has no images or videos'):
        encode_files(model, tmp_path)


def test_only_one_batch_of_files_is_in_memory(model, folder, monkeypatch):
    path, alive, most = str(folder / '0.jpg'), weakref.WeakSet(), []
    preprocess = model.data_preprocessor.forward

    def count(batch, *args):
        alive.update(batch.inputs)
        most.append(sum(map(len, alive)))
        return preprocess(batch, *args)

    monkeypatch.setattr(model.data_preprocessor, 'forward', count)
    encode_files(model, [path] * 12, batch_size=2)
    assert most == [2] * 6


def test_progress_is_shown_on_demand_only(model, folder, capsys):
    encode_files(model, folder)
    assert capsys.readouterr().err == ''
    encode_files(model, folder, progress=True)
    assert '6/6' in capsys.readouterr().err
