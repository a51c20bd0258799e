# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vicmae.apis import build_runner, load_config
from vicmae.config.paths import project_file
from vicmae.engine.hooks.class_fit import sets_by_head
from vicmae.errors import ConfigError, DataError

DEBUG = project_file('configs/vicmae/benchmarks/vicmae_vit-tiny-p8_linear_debug.py')


@pytest.fixture
def images(demo_data, tmp_path):
    """Class folders of one's own, train and val, of four classes."""
    shutil.copytree(demo_data / 'images', tmp_path / 'images')
    return tmp_path / 'images'


def make_runner(images, *, training=True, **overrides):
    cfg = load_config(DEBUG, overrides)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        if not loader.dataset.get('ann_file'):
            loader.dataset.data_root = str(images)
    cfg._cfg_dict.pop('demo_data')
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = None
    cfg.work_dir, cfg.launcher = str(images.parent / 'run'), 'none'
    cfg.experiment_name = images.parent.name + ('-train' if training else '-test')
    return build_runner(cfg, training=training)


def test_matching_classes_train_and_test(images):
    runner = make_runner(images)
    runner.train()
    last = str(images.parent / 'run/epoch_1.pth')
    found = make_runner(images, training=False, load_from=last).test()
    assert set(found) == {'accuracy/top1', 'accuracy/top2', 'accuracy/mean_class'}


def test_training_without_the_hook_is_refused(images):
    with pytest.raises(ConfigError, match='TransferClassifier.*ClassFitHook'):
        make_runner(images, custom_hooks=[])


def test_head_with_another_number_of_classes_is_refused(images):
    runner = make_runner(images, **{'model.head.num_classes': 7})
    with pytest.raises(ConfigError, match='num_classes. is 7, but the training set has 4 classes'):
        runner.train()


def test_empty_class_folder_is_named(images):
    for part in ('train', 'val'):
        shutil.rmtree(images / part / 'dotted_star')
        (images / part / 'dotted_star').mkdir()
    with pytest.raises(ConfigError, match='has 3 classes .* Without a file are: dotted_star'):
        make_runner(images).train()


def test_validation_set_of_other_classes_is_refused(images):
    (images / 'val/dotted_star').rename(images / 'val/zebra')
    message = 'dotted_star only in the training set; zebra only in the validation set'
    with pytest.raises(DataError, match=message):
        make_runner(images).train()


def test_list_next_to_class_folders_is_reported(images, capsys):
    files = sorted((images / 'val').glob('*/*'))
    lines = [f'{file} {number % 4}' for number, file in enumerate(files)]
    (images / 'val.txt').write_text('\n'.join(lines))
    runner = make_runner(
        images,
        **{
            'val_dataloader.dataset.ann_file': str(images / 'val.txt'),
            'val_dataloader.dataset.data_root': '',
        },
    )
    runner.train()
    assert 'whether they mean the same classes is not known' in capsys.readouterr().out


def test_test_set_of_other_classes_than_the_checkpoint_is_refused(images):
    make_runner(images).train()
    (images / 'val/dotted_star').rename(images / 'val/zebra')
    last = str(images.parent / 'run/epoch_1.pth')
    runner = make_runner(images, training=False, load_from=last)
    with pytest.raises(DataError, match='zebra only in the test set'):
        runner.test()


def write_list(images, labels):
    """A list of the images of training, each with a label."""
    files = sorted((images / 'train').rglob('*.jpg'))[: len(labels)]
    lines = [f'{file} {label}' for file, label in zip(files, labels, strict=True)]
    (images / 'list.txt').write_text('\n'.join(lines))
    return {'train_dataloader.dataset.ann_file': str(images / 'list.txt')}


def test_label_that_the_head_lacks_is_refused(images):
    runner = make_runner(images, **write_list(images, [0, 1, 2, 3, 4] * 4))
    with pytest.raises(ConfigError, match='training set has the label 4; .*num_classes=5'):
        runner.train()


def test_class_without_a_line_in_a_list_is_reported(images, capsys):
    runner = make_runner(images, **write_list(images, [0, 1, 3] * 8))
    runner.train()
    assert '1 of 4 classes have no sample in the training set: 2.' in (''.join(capsys.readouterr()))
    assert torch.isfinite(runner.model.head.fc.weight).all()


JOINT = project_file('configs/supervised_joint/supervised-joint_vit-tiny-p8_debug.py')


@pytest.fixture
def joint_data(demo_data, tmp_path):
    """Class folders of one's own of images and videos."""
    for name in ('images', 'videos'):
        shutil.copytree(demo_data / name, tmp_path / name)
    return tmp_path


def make_joint_runner(folder, *, training=True, **overrides):
    cfg = load_config(JOINT, overrides)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        for source in filter(None, loader.dataset.sources.values()):
            source.data_root = str(folder / source.data_root.rpartition('/')[2])
    cfg._cfg_dict.pop('demo_data')
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.train_dataloader.sampler.samples_per_epoch = 8
    cfg.work_dir, cfg.launcher = str(folder / 'run'), 'none'
    cfg.experiment_name = folder.name + ('-train' if training else '-test')
    return build_runner(cfg, training=training)


def before_train(runner):
    """The check alone, without a step."""
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'ClassFitHook')
    hook.before_train(runner)


def test_each_head_is_checked_against_its_sources(joint_data):
    runner = make_joint_runner(joint_data)
    before_train(runner)  # passes
    runner.model.heads['videos'].num_classes = 7
    with pytest.raises(ConfigError, match='heads.videos.num_classes. is 7, but the training set'):
        before_train(runner)
    runner.model.heads['places'] = runner.model.heads['images']
    runner.model.heads['videos'].num_classes = 4
    with pytest.raises(ConfigError, match="heads.places. has no training data.*named 'places'"):
        before_train(runner)
    source = runner.train_dataloader.dataset.sources[0]
    source.tags = dict(head='clips')
    with pytest.raises(ConfigError, match="head 'clips', but the model has the heads images, vid"):
        before_train(runner)
    source.tags = dict(head='places')
    with pytest.raises(ConfigError, match='heads.images. has no training data'):
        before_train(runner)


def test_sources_of_one_head_must_have_the_same_classes(joint_data):
    (joint_data / 'images/val/dotted_star').rename(joint_data / 'images/val/zebra')
    with pytest.raises(
        DataError, match='dotted_star only in the training set; zebra only in the v'
    ):
        before_train(make_joint_runner(joint_data))


def test_samples_without_a_label_are_counted(joint_data, capsys):
    files = sorted((joint_data / 'images/train').rglob('*.jpg'))
    lines = [
        f'{file} {number % 4}' if number % 6 else str(file) for number, file in enumerate(files)
    ]
    (joint_data / 'list.txt').write_text('\n'.join(lines))
    source = 'train_dataloader.dataset.sources.images'
    changes = {f'{source}.ann_file': str(joint_data / 'list.txt'), f'{source}.with_labels': False}
    before_train(make_joint_runner(joint_data, **changes))
    assert (
        f'{len(files) // 6} of {len(files)} training samples have no label'
        in capsys.readouterr().out
    )


def test_source_without_labels_needs_no_head():
    sources = [
        SimpleNamespace(name='images', labels=lambda: np.array([0, -1])),
        SimpleNamespace(name='scraps', labels=lambda: np.array([-1, -1])),
    ]
    found = sets_by_head(SimpleNamespace(sources=sources), ['heads.images'], 'training')
    assert found == {'heads.images': [sources[0]]}


@pytest.mark.slow
def test_joint_model_is_tested_on_the_classes_of_its_training(joint_data):
    make_joint_runner(joint_data).train()
    last = str(joint_data / 'run/epoch_1.pth')
    found = make_joint_runner(joint_data, training=False, load_from=last).test()
    assert {'accuracy/images/top1', 'accuracy/videos/top1', 'accuracy/mean/top1'} <= set(found)
    (joint_data / 'videos/val/dotted_star').rename(joint_data / 'videos/val/zebra')
    with pytest.raises(DataError, match='zebra only in the test set'):
        make_joint_runner(joint_data, training=False, load_from=last).test()
