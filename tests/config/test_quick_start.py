# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The config that `vicmae train --images DIR --videos DIR` writes."""

import csv
import shutil

import pytest

from vicmae.config.load import load_config
from vicmae.config.quick_start import METHODS, QuickStart, fitting_patch_size
from vicmae.errors import ConfigError, DataError


@pytest.fixture(scope='module')
def folders(demo_data):
    return dict(images=str(demo_data / 'images/train'), videos=str(demo_data / 'videos/train'))


def sources_of(cfg, loader='train'):
    return cfg[f'{loader}_dataloader'].dataset.sources


def test_config_trains_on_the_folders_at_the_size(folders, tmp_path):
    out = tmp_path / 'run'
    start = QuickStart(str(out), **folders, image_size=96, model_size='tiny', epochs=30)
    cfg = load_config(start.write())
    assert {kind: sources_of(cfg)[kind].data_root for kind in folders} == folders
    assert (cfg.image_size, cfg.patch_size, cfg.model.backbone.img_size) == (96, 8, 96)
    assert cfg.model.neck.embed_dim == 128
    assert cfg.train_cfg.max_epochs == 30
    assert cfg.work_dir == str(out / 'run')
    assert cfg.val_dataloader is None


@pytest.mark.parametrize('method', METHODS)
def test_config_of_each_method_trains_on_the_folders_that_it_takes(folders, tmp_path, method):
    taken = {kind: folders[kind] for kind in METHODS[method].kinds}
    cfg = load_config(QuickStart(str(tmp_path), **taken, method=method, image_size=64).write())
    assert cfg.model.type.lower() == method
    assert cfg.model.backbone.arch == 'small'
    trained = {kind: source for kind, source in sources_of(cfg).items() if source}
    assert {kind: source.data_root for kind, source in trained.items()} == taken
    assert not any(source.get('ann_file') for source in trained.values())
    assert cfg.val_dataloader is None


def test_kind_that_the_method_does_not_take_is_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match='videos alone, got `--images`.*vicmae, mae, omnimae'):
        QuickStart(str(tmp_path), **folders, method='videomae').write()
    assert not (tmp_path / 'config.py').exists()


@pytest.mark.parametrize('kind', ['images', 'videos'])
def test_images_or_videos_alone_drop_the_other_source(folders, tmp_path, kind):
    cfg = load_config(QuickStart(str(tmp_path), **{kind: folders[kind]}).write())
    assert [name for name, source in sources_of(cfg).items() if source] == [kind]


def test_labelled_train_and_val_are_bank_and_queries(folders, demo_data, tmp_path):
    labelled = demo_data / 'images'
    cfg = load_config(QuickStart(str(tmp_path), **folders, labelled=str(labelled)).write())
    sources = sources_of(cfg, 'val')
    assert sources.image_bank.data_root == str(labelled / 'train')
    assert sources.image_query.data_root == str(labelled / 'val')
    assert {source.tags.probe for source in sources.values()} == {'images'}
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.val_evaluator.type == 'KNNAccuracy'


def test_labelled_folder_without_parts_is_split_by_class(folders, demo_data, tmp_path):
    labelled = demo_data / 'videos/train'
    QuickStart(str(tmp_path), **folders, labelled=str(labelled)).write()
    rows = {}
    for role in ('bank', 'query'):
        with open(tmp_path / f'labelled_videos_{role}.csv', newline='') as file:
            rows[role] = [tuple(row.values()) for row in csv.DictReader(file)]
    assert not {*rows['bank']} & {*rows['query']}
    files = {str(path) for path in labelled.rglob('*.mp4')}
    assert {path for role in rows.values() for path, _ in role} == files
    assert {name for _, name in rows['bank']} == {name for _, name in rows['query']}


def test_rare_kind_gets_a_share_of_each_batch(folders, demo_data, tmp_path):
    few = tmp_path / 'few'
    few.mkdir()
    shutil.copy(next((demo_data / 'videos/train').rglob('*.mp4')), few)
    start = QuickStart(str(tmp_path / 'run'), images=folders['images'], videos=str(few))
    assert load_config(start.write()).train_dataloader.dataset.weights == dict(images=7, videos=1)


def test_edited_config_is_not_overwritten(folders, tmp_path):
    path = QuickStart(str(tmp_path), **folders).write()
    assert QuickStart(str(tmp_path), **folders).write() == path
    path.write_text(path.read_text() + 'randomness = dict(seed=1)\n')
    with pytest.raises(ConfigError, match='exists, with other settings'):
        QuickStart(str(tmp_path), **folders).write()
    QuickStart(str(tmp_path), **folders).write(overwrite=True)
    assert 'seed=1' in (tmp_path / 'config.old.py').read_text()
    assert 'seed=1' not in path.read_text()


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({}, ConfigError, '--images DIR'),
        (dict(images='/no/such/place'), DataError, '/no/such/place'),
        (dict(image_size=37), ConfigError, r'37 pixels.*--image-size 32` or `--image-size 40'),
        (dict(image_size=0), ConfigError, '--image-size` must be at least 1, got 0'),
        (dict(epochs=0), ConfigError, '--epochs` must be at least 1, got 0'),
        (dict(batch_size=-1), ConfigError, '--batch-size` must be at least 1'),
        (dict(image_size=32, patch_size=7), ConfigError, '--patch-size` must divide'),
        (dict(labelled='/no/such/place'), DataError, '--labelled.*no folder'),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_written(
    folders, tmp_path, options, error, message
):
    options = options if not options or 'images' in options else {**folders, **options}
    with pytest.raises(error, match=message):
        QuickStart(str(tmp_path / 'run'), **options).write()
    assert not (tmp_path / 'run' / 'config.py').exists()


@pytest.mark.parametrize(
    ('image_size', 'patch_size'),
    [(32, 4), (64, 8), (96, 8), (128, 16), (160, 16), (384, 16), (8, 1), (250, 25), (150, 15)],
)
def test_patch_size_gives_eight_patches_a_side_or_more(image_size, patch_size):
    assert fitting_patch_size(image_size) == patch_size


def test_labelled_folder_with_one_part_is_split_within_it(folders, demo_data, tmp_path):
    labelled = tmp_path / 'labelled'
    shutil.copytree(demo_data / 'images/train', labelled / 'train')
    QuickStart(str(tmp_path), **folders, labelled=str(labelled)).write()
    with open(tmp_path / 'labelled_images_query.csv', newline='') as file:
        found = {row['label'] for row in csv.DictReader(file)}
    assert found == {path.name for path in (labelled / 'train').iterdir()}


def test_labelled_folder_of_one_class_is_refused(folders, demo_data, tmp_path):
    one = next(path for path in sorted((demo_data / 'images/train').iterdir()))
    labelled = tmp_path / 'labelled'
    shutil.copytree(one, labelled / one.name)
    with pytest.raises(DataError, match='at least two classes.*Found 1'):
        QuickStart(str(tmp_path / 'run'), **folders, labelled=str(labelled)).write()
