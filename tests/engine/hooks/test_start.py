# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Log lines at the start of training, and what is warned of there."""

import re
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import Dataset

from vicmae.datasets import ImageFolder, MixedDataset
from vicmae.datasets.samplers import MixtureSampler
from vicmae.engine.start_checks import check_evaluation_data, check_negatives
from vicmae.models.losses import CosineLoss, InfoNCELoss, SIGRegLoss, VICRegLoss
from vicmae.testing import toy_runner


def said(tmp_path, capfd, **kwargs):
    """Trains, and returns what the console shows."""
    toy_runner(tmp_path, **kwargs).train()
    return ''.join(capfd.readouterr())


# ------------------------------------------------------------------------- first step
SELDOM = dict(default_hooks=dict(logger=dict(type='LoggerHook', interval=50)))


def test_first_step_is_logged_with_loss_and_time_left(tmp_path, capfd):
    class Losses(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append(outputs['loss'].item())

    losses = []
    console = said(tmp_path, capfd, hooks=[Losses()], **SELDOM)
    (line,) = re.findall(r'First step: loss ([\d.]+), .*', console)
    assert float(line) == pytest.approx(losses[0], abs=1e-4)
    assert '5 steps are left: about 0:00:00 if loading keeps up' in console


@pytest.mark.parametrize(
    'hooks',
    [
        dict(logger=dict(type='LoggerHook', interval=1)),
        {**SELDOM['default_hooks'], 'first_step': None},
    ],
)
def test_first_step_is_not_logged_twice_or_if_disabled(tmp_path, capfd, hooks):
    assert 'First step' not in said(tmp_path, capfd, default_hooks=hooks)


# ------------------------------------------------------------------------- schedules
def cosine(end, **kwargs):
    return dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=end, T_max=end, **kwargs)


def test_schedule_that_ends_before_the_run_is_a_warning_with_epoch_and_rate(tmp_path, capfd):
    schedule = [cosine(2, eta_min=1e-4, convert_to_iter_based=True)]
    console = said(tmp_path, capfd, max_epochs=8, param_scheduler=schedule)
    rate = re.search(r'learning rate stays at (\S+) from epoch 2 of 8 on: `param_sch', console)[1]
    for epoch in (3, 8):
        logged = re.search(rf'\[{epoch}\]\[3/3\] +lr: (\S+) ', console)[1]
        assert float(rate) == pytest.approx(float(logged), rel=5e-3)


@pytest.mark.parametrize('convert', [True, False])
def test_schedule_that_ends_after_the_run_is_a_warning_with_the_last_rate(tmp_path, capfd, convert):
    schedule = [cosine(4, convert_to_iter_based=convert)]
    console = said(tmp_path, capfd, max_epochs=2, param_scheduler=schedule)
    assert 'The run ends at epoch 2 with a learning rate of 0.005, and `param_s' in console
    assert '`param_scheduler` at epoch 4' in console


@pytest.mark.parametrize(
    'schedule',
    [
        None,
        [cosine(2)],
        [dict(type='CosineAnnealingLR', T_max=2)],
        # A warm-up alone.
        [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)],
        [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2), cosine(2)],
    ],
)
def test_schedule_that_fits_the_run_does_not_warn(tmp_path, capfd, schedule):
    assert '`param_scheduler`' not in said(tmp_path, capfd, param_scheduler=schedule)


# ------------------------------------------------------------------------- negatives
class Files(Dataset):
    """A source of so many files."""

    def __init__(self, number, visits=1, root=''):
        self.number, self.visits_per_opening, self.data_root = number, visits, root

    def __len__(self):
        return self.number


def runner_of(batch_size, loss=None, world_size=1, **sources):
    sampler = MixtureSampler(MixedDataset(sources), seed=0, samples_per_epoch=96)
    batches = SimpleNamespace(sampler=sampler, batch_size=batch_size)
    model = nn.Module()
    model.head = SimpleNamespace(contrastive=loss or InfoNCELoss())
    loader = SimpleNamespace(batch_sampler=batches)
    return SimpleNamespace(train_dataloader=loader, model=model, world_size=world_size)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(batch_size=8, images=Files(3)), "8 samples of 'images' from 3 different files"),
        (dict(batch_size=8, videos=Files(1)), "8 samples of 'videos' from 1 file:"),
        (dict(batch_size=4, world_size=2, images=Files(5)), "A batch of 8 has 8 samples of 'im"),
        (
            dict(batch_size=8, videos=Files(99, visits=4)),
            "8 samples of 'videos' from 2 diff.* now 4",
        ),
    ],
)
def test_batch_with_copies_of_a_file_as_negatives_warns(options, message):
    assert re.search(message, check_negatives(runner_of(**options)))


@pytest.mark.parametrize(
    'options',
    [
        dict(batch_size=8, images=Files(8)),
        # Losses without negatives.
        *(
            dict(batch_size=8, images=Files(3), loss=loss)
            for loss in (CosineLoss(), SIGRegLoss(), VICRegLoss())
        ),
        dict(batch_size=64, videos=Files(99, visits=4)),
    ],
)
def test_batch_of_different_files_does_not_warn(options):
    assert check_negatives(runner_of(**options)) is None


# ------------------------------------------------------------------------- data of the evaluation
def evaluated(train, *val):
    """A run on one source that is evaluated on others."""
    loader = SimpleNamespace(dataset=MixedDataset(dict(images=train)))
    queries = SimpleNamespace(dataset=MixedDataset(dict(enumerate(val))))
    return SimpleNamespace(train_dataloader=loader, val_loop=SimpleNamespace(dataloader=queries))


@pytest.mark.parametrize(
    ('train', 'val', 'differs'),
    [
        ('data/in1k/train', 'data/in1k/val', False),
        ('data/k400/videos_train', 'data/k400/videos_val', False),
        ('data/coco/train2017/images', 'data/coco/val2017/images', False),
        ('data/own', 'data/own/labelled/val', False),
        ('data/own', 'data/demo/images/val', True),
        ('/a/pictures', '/a/pictures_of_cats/val', True),
    ],
)
def test_evaluation_on_other_data_than_training_is_logged(train, val, differs):
    text = check_evaluation_data(evaluated(Files(1, root=train), Files(1, root=val)))
    assert (text is not None) == differs
    if differs:
        assert f'it reads {val}, and the training {train}.' in text


@pytest.mark.parametrize(('train', 'differs'), [('photos', True), ('labelled/train', False)])
def test_evaluation_on_other_data_by_a_list_is_logged(tmp_path, train, differs):
    lists = {
        'bank': ['val/cat/1.jpg', 'val/dog/1.jpg'],
        'query': ['val/cat/2.jpg', 'val/dog/2.jpg'],
    }
    for role, names in lists.items():
        paths = [tmp_path / 'labelled' / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / f'{role}.txt').write_text(''.join(f'{path} 0\n' for path in paths))
    probes = [ImageFolder(ann_file=str(tmp_path / f'{role}.txt')) for role in lists]
    text = check_evaluation_data(evaluated(Files(1, root=str(tmp_path / train)), *probes))
    assert (text is not None) == differs
    if differs:
        assert f'it reads {tmp_path}/labelled/val, and the training {tmp_path}/photos.' in text
