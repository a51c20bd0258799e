# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Training, resuming and testing as a user does it, and what a user does wrong."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import pytest
import torch

from .conftest import DEBUG, ENVIRONMENT, ROOT, figures

IMAGES = 'train_dataloader.dataset.sources.images'
VIDEOS = 'train_dataloader.dataset.sources.videos'
SHORT = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.samples_per_epoch=16']


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


def assert_one_line(ended, pattern):
    """The end that a user's fault has."""
    assert ended.status == 1, ended
    assert 'Traceback' not in ended.err
    assert re.search(pattern, ended.err), ended.err
    assert ended.err.startswith('error: ')
    assert ended.err.count('\n') == 1


# ------------------------------------------------------------------------- training
def test_debug_config_trains_and_prints_its_last_checkpoint(trained):
    assert (trained / 'last_checkpoint').read_text() == str(trained / 'iter_16.pth')
    out = (trained / 'out.txt').read_text()
    sources = '48 images (0.67 visits each), 16 videos (2 visits each)'
    assert f'Training on {sources}: 8 batches of 8 an epoch' in out
    losses = [float(v) for v in re.findall(r' loss_reconstruction: ([\d.]+)', out)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_training_reports_knn_on_images_and_videos(trained):
    log = next(trained.glob('*/vis_data/scalars.json')).read_text().splitlines()
    last = json.loads(log[-1])
    assert {'images/knn_top1', 'videos/knn_top1', 'images/chance', 'videos/chance'} <= set(last)


@pytest.mark.slow
def test_same_command_gives_the_same_weights_and_another_seed_different_ones(
    run_tool, trained, tmp_path
):
    for seed in (0, 1):
        options = ['--work-dir', tmp_path / str(seed), '--no-validate', '--seed', seed]
        assert run_tool('train.py', DEBUG, *options).status == 0
    expected = weights(trained / 'iter_16.pth')
    same, other = (weights(tmp_path / seed / 'iter_16.pth') for seed in '01')
    assert all(torch.equal(same[key], expected[key]) for key in expected)
    assert any(not torch.equal(other[key], expected[key]) for key in expected)


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(run_tool, trained, tmp_path):
    for path in trained.glob('iter_8.pth*'):
        shutil.copy(path, tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_8.pth'))
    options = ['--work-dir', tmp_path, '--no-validate', '--resume']
    assert run_tool('train.py', DEBUG, *options).status == 0
    whole, resumed = weights(trained / 'iter_16.pth'), weights(tmp_path / 'iter_16.pth')
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_from_the_beginning(run_tool, tmp_path):
    options = ['--no-validate', '--resume', '--cfg-options', *SHORT]
    assert run_tool('train.py', DEBUG, '--work-dir', tmp_path, *options).status == 0
    assert (tmp_path / 'iter_2.pth').exists()


@pytest.mark.slow
@pytest.mark.parametrize(('off', 'rest'), [(VIDEOS, '48 images'), (IMAGES, '16 videos')])
def test_images_or_videos_alone_train(run_tool, tmp_path, off, rest):
    options = ['--no-validate', '--cfg-options', f'{off}=None', *SHORT]
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, *options)
    assert ended.status == 0, ended.err
    assert f'Training on {rest}: 2 batches' in re.sub(r' \(\S+ visits each\)', '', ended.out)


@pytest.mark.slow
def test_one_class_of_each_kind_trains(run_tool, place, tmp_path):
    roots = [place / f'data/demo-debug/{kind}/train' for kind in ('images', 'videos')]
    first = [next(folder for folder in sorted(root.iterdir())) for root in roots]
    options = [f'{IMAGES}.data_root={first[0]}', f'{VIDEOS}.data_root={first[1]}']
    options = ['--no-validate', '--cfg-options', *options, *SHORT]
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, *options)
    assert ended.status == 0, ended.err
    assert (
        'Training on 12 images (0.67 visits each), 4 videos (2 visits each): 2 batches of 8'
        in ended.out
    )


@pytest.mark.slow
def test_one_image_and_one_video_train(run_tool, place, tmp_path):
    for kind, suffix in (('images', '.jpg'), ('videos', '.mp4')):
        source = next((place / f'data/demo-debug/{kind}/train').rglob(f'*{suffix}'))
        (tmp_path / kind).mkdir()
        (tmp_path / kind / source.name).write_bytes(source.read_bytes())
    roots = [f'{IMAGES}.data_root={tmp_path}/images', f'{VIDEOS}.data_root={tmp_path}/videos']
    options = ['--no-validate', '--cfg-options', *roots, *SHORT]
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, *options)
    assert ended.status == 0, ended.err
    assert (
        'Training on 1 images (8 visits each), 1 videos (8 visits each): 2 batches of 8'
        in ended.out
    )


@pytest.mark.slow
def test_paper_config_trains_on_a_cpu_with_a_batch_of_two(run_tool, place, tmp_path):
    config = ROOT / 'configs/vicmae/vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'
    data = place / 'data/demo-debug'
    smaller = ['model.backbone.arch=small', 'model.backbone.img_size=32', 'model.neck.depth=1']
    smaller += ['model.predictor.hidden_dim=64', 'model.target.head.hidden_dim=64']
    crops = [f'{kind}.pipeline.{i}.transforms.0.size=32' for kind, i in ((IMAGES, 1), (VIDEOS, 3))]
    options = [f'{IMAGES}.data_root={data}/images/train', f'{VIDEOS}.data_root={data}/videos/train']
    options += ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0']
    options += ['train_dataloader.sampler.samples_per_epoch=4', 'train_cfg.max_epochs=1']
    options += [*smaller, *crops]  # seconds, not minutes
    begin = ['train.py', config, '--work-dir', tmp_path, '--no-validate', '--cfg-options']
    ended = run_tool(*begin, *options)
    assert ended.status == 0, ended.err
    assert 'No GPU: training in float32' in ended.out
    assert re.search(r'Training on 48 images .*, 16 videos .*: 2 batches of 2', ended.out)


# ------------------------------------------------------------------------- testing
def test_evaluation_prints_and_writes_both_metrics(tested):
    ended, out = tested
    for name in ('images/knn_top1', 'videos/knn_top1'):
        assert f'{figures(out)[name]:.1f}' in re.search(rf'{name} *│ *([\d.]+)', ended.out)[1]


def test_evaluation_gives_the_metrics_of_the_last_epoch(tested, trained):
    log = next(trained.glob('*/vis_data/scalars.json')).read_text().splitlines()
    last = json.loads(log[-1])
    for name, value in figures(tested[1]).items():
        assert value == pytest.approx(last[name], rel=1e-6), name


@pytest.mark.slow
def test_random_weights_are_evaluated_as_a_baseline(run_tool, tested, tmp_path):
    out = tmp_path / 'random.json'
    begin = ['test.py', DEBUG, '--random-init', '--work-dir', tmp_path, '--out', out]
    assert run_tool(*begin).status == 0
    assert set(figures(out)) == set(figures(tested[1]))
    rank = 'images/effective_rank'
    assert figures(out)[rank] != pytest.approx(figures(tested[1])[rank], rel=1e-4)


@pytest.mark.slow
def test_predictions_of_each_sample_are_written(run_tool, trained, tmp_path):
    out = tmp_path / 'predictions.pkl'
    checkpoint = trained / 'iter_16.pth'
    options = ['--work-dir', tmp_path, '--out-item', 'pred', '--out', out]
    assert run_tool('test.py', DEBUG, checkpoint, *options).status == 0
    samples = pickle.loads(out.read_bytes())
    assert len(samples) == 48 + 16 + 16 + 8
    assert {sample['feature'].shape for sample in samples} == {(64,)}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'give a checkpoint, or --random-init'),
        (['a.pth', '--random-init'], 'give a checkpoint, or --random-init .*not both'),
        (['a.pth', '--out-item', 'pred'], '--out-item pred needs --out FILE.pkl'),
    ],
)
def test_conflicting_arguments_of_test_are_refused(run_tool, options, message):
    ended = run_tool('test.py', DEBUG, *options)
    assert ended.status == 2
    assert re.search(message, ended.err)


# ------------------------------------------------------------------------- what a user does wrong
def write(path, content):
    path.write_bytes(content)
    return path


WRONG = {
    'missing data root': (
        lambda d: ['--cfg-options', f'{IMAGES}.data_root=/no/images'],
        r"`train_dataloader`, source 'images': `data_root` of ImageFolder must be a folder, got '/no/images', which d",
    ),
    'empty folder': (
        lambda d: ['--cfg-options', f'{VIDEOS}.data_root={d}'],
        r'No videos under .*: looked for \.mp4 .*; the folder is empty',
    ),
    'bad line in a list': (
        lambda d: ['--cfg-options', f'{IMAGES}.ann_file={write(d / "list.txt", b"a.jpg -1")}'],
        r"list\.txt, line 1: the label must be a whole number from 0 on or the name of a class, got '-1'",
    ),
    'unknown key': (
        lambda d: ['--cfg-options', 'optimzer.lr=3'],
        r'no key `optimzer\.lr`.*Did you mean optim_wrapper',
    ),
    'type that is not registered': (
        lambda d: ['--cfg-options', 'model.aggregator.type=MeenPooling'],
        r"`model\.aggregator\.type` is 'MeenPooling', .*Did you mean MeanPooling",
    ),
    'missing checkpoint': (
        lambda d: ['--resume', d / 'no.pth'],
        r"The checkpoint '.*no\.pth' does not exist",
    ),
    'torn checkpoint': (
        lambda d: ['--resume', write(d / 'torn.pth', b'PK\x03\x04' + bytes(99))],
        r"'.*torn\.pth' is not a PyTorch checkpoint, or is truncated \(103 bytes\)",
    ),
    'lost last checkpoint': (
        lambda d: ['--resume', '--work-dir', robbed_run(d)],
        r"names '.*epoch_1\.pth', which does not exist, and there is no other checkpoint",
    ),
    'impossible value': (
        lambda d: ['--cfg-options', 'optim_wrapper.optimizer.lr=-1'],
        r"can't be built. Invalid learning rate: -1",
    ),
    'unknown demo data': (
        lambda d: ['--cfg-options', 'demo_data.preset=foo'],
        r"`preset` must be one of demo, debug, got 'foo'",
    ),
    'crops that patches do not divide': (
        lambda d: ['--cfg-options', f'{IMAGES}.pipeline.1.transforms.0.size=60', f'{VIDEOS}=None'],
        r'`patch_size` 8 must divide images, got 60x60 pixels. Use 56 or 64\.',
    ),
    'everything switched off': (
        lambda d: ['--cfg-options', f'{IMAGES}=None', f'{VIDEOS}=None'],
        r'are disabled \(got images, videos\). Give at least one',
    ),
}


def robbed_run(folder):
    write(folder / 'last_checkpoint', str(folder / 'epoch_1.pth').encode())
    return folder


@pytest.mark.parametrize('fault', WRONG)
def test_error_of_a_user_ends_in_one_line(run_tool, tmp_path, fault):
    options, pattern = WRONG[fault]
    ended = run_tool('train.py', DEBUG, '--no-validate', *options(tmp_path))
    assert_one_line(ended, pattern)


def test_missing_data_of_the_evaluation_ends_with_the_option_that_omits_it(run_tool, tmp_path):
    root = 'val_dataloader.dataset.sources.image_bank.data_root=/no'
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, '--cfg-options', root)
    assert_one_line(
        ended, r"`val_dataloader`, source 'image_bank': .*'/no'.*`--no-validate` trains"
    )


def test_missing_config_ends_in_one_line(run_tool):
    ended = run_tool('train.py', 'configs/vicmae/vicmae_vit-tiny-p8_debog.py')
    assert_one_line(ended, r"There is no config '.*debog\.py'")


def test_damaged_image_ends_in_one_line_also_from_a_worker(run_tool, tmp_path):
    write(tmp_path / 'a.jpg', b'<html>404</html>')
    options = ['--cfg-options', f'{IMAGES}.data_root={tmp_path}', *SHORT]
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path / 'w', '--no-validate', *options)
    assert_one_line(ended, r"Can't read the image '.*a\.jpg'")


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_checkpoint_of_another_model_is_refused_with_its_keys(run_tool, trained, tmp_path, tool):
    checkpoint = trained / 'iter_8.pth'
    given = ['--resume', checkpoint] if tool == 'train.py' else [checkpoint]
    other = ['--cfg-options', 'model.neck.embed_dim=16']
    ended = run_tool(tool, DEBUG, *given, '--work-dir', tmp_path, *other)
    assert ended.status == 1
    assert 'Traceback' not in ended.err
    assert re.search(
        r'of another shape: neck\.mask_token \(1, 1, 32\) instead of \(1, 1, 16\)', ended.err
    )


def test_probe_of_unlabelled_data_ends_in_one_line(run_tool, place, tmp_path):
    picture = next((place / 'data/demo-debug/images/val').rglob('*.jpg'))
    write(tmp_path / 'a.jpg', picture.read_bytes())
    source = f'val_dataloader.dataset.sources.image_query.data_root={tmp_path}'
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path / 'w', '--cfg-options', source)
    assert_one_line(
        ended, 'A probe needs a label for each sample, but 1 of 1 .*val_dataloader=None'
    )


# ------------------------------------------------------------------------- the very command
def test_help_does_not_load_torch(place):
    code = (
        'import runpy, sys; sys.argv = ["train.py", "--help"]\n'
        f'try: runpy.run_path({str(ROOT / "tools/train.py")!r}, run_name="__main__")\n'
        'except SystemExit as end: print(end.code, "torch" in sys.modules)'
    )
    run = subprocess.run(
        [sys.executable, '-c', code],
        env=os.environ | ENVIRONMENT,
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert '--cfg-options KEY=VALUE' in run.stdout
    assert run.stdout.endswith('0 False\n')


def test_run_in_the_folder_of_another_is_refused_without_overwrite(run_tool, trained, tmp_path):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text('iter_16.pth')
    options = ['train.py', DEBUG, '--work-dir', work_dir, '--no-validate']
    assert_one_line(run_tool(*options), 'holds a run .*`--resume`.*`--overwrite`.*`--work-dir`')
    fault = ['--cfg-options', f'{IMAGES}.data_root=/no/images']  # ends before it trains
    ended = run_tool(*options, '--overwrite', *fault)
    assert f"The earlier run was moved to '{work_dir}.old-1'" in ended.err
    assert (tmp_path / 'work.old-1/last_checkpoint').exists()
