# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Importing has no side effects, and training doesn't import what only tools need."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vicmae.data_tools.packing.shard_writer import frame_members, write_shard

ROOT = Path(__file__).parents[1]
# Others are imported first, for what they do is theirs.
SIDE_EFFECTS = """
import importlib, logging, os, sys, warnings
import cv2, mmcv, mmengine.runner, mmpretrain.models, PIL.Image, torch, torchvision, webdataset
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.registry import DefaultScope

def state():
    return dict(
        environment=dict(os.environ),
        schemes=dict(CheckpointLoader._schemes),
        filters=list(warnings.filters),
        levels=[(n, logging.getLogger(n).level, logging.getLogger(n).propagate) for n in ('', 'PIL', 'mmengine')],
        torch=(torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), torch.is_grad_enabled()),
        deterministic=(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        scope=DefaultScope.get_current_instance(),
        drawing={'matplotlib', 'jinja2'} & set(sys.modules),
        cv2=cv2.getNumThreads(),
    )

before = state()
for name in ('', '.models', '.datasets', '.engine', '.engine.hooks', '.apis', '.evaluation', '.evaluation.metrics',
             '.visualization', '.checkpoints.fit', '.cli.common', '.io.image'):
    importlib.import_module('vicmae' + name)
after = state()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
"""
SHARDS = """
import sys
from vicmae.apis import build_runner, load_config

cfg = load_config(sys.argv[1])
cfg.work_dir, cfg.launcher = sys.argv[2], 'none'
runner = build_runner(cfg, training=True)
runner.train()
assert runner.iter == 1
for name in ('av', 'vicmae.demo', 'vicmae.data_tools'):
    assert name not in sys.modules, name
"""
CONFIG = """
_base_ = '{root}/configs/vicmae/vicmae_vit-tiny-p8_debug.py'
demo_data = None
val_dataloader = val_cfg = val_evaluator = None
train_cfg = dict(_delete_=True, type='EpochLoop', max_epochs=1)
views = [dict(type='TwoViews', transforms=[dict(type='RandomResizedCrop')]), dict(type='PackViews')]
frames = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='MixtureSampler', samples_per_epoch=8),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            images=dict(type='ImageShards', shards='{folder}/images', pipeline=[dict(type='LoadImage'), *views]),
            videos=dict(type='VideoShards', shards='{folder}/videos', fps=5, pipeline=[*frames, *views]),
        ),
        weights=dict(images=1, videos=1),
    ),
)
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_changes_nothing_for_the_rest_of_the_process():
    ended = run(SIDE_EFFECTS)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_training_from_shards_imports_neither_pyav_nor_the_demo(tmp_path):
    jpegs = [
        cv2.imencode('.jpg', np.full((64, 64, 3), 20 * i, np.uint8))[1].tobytes() for i in range(8)
    ]
    for kind in ('images', 'videos'):
        (tmp_path / kind).mkdir()
    with write_shard(f'{tmp_path}/images/a.tar') as shard:
        for i, jpeg in enumerate(jpegs):
            shard.add(f'{i:04d}', {'jpg': jpeg}, dict(label=0))
    with write_shard(f'{tmp_path}/videos/a.tar') as shard:
        for i in range(8):
            shard.add(f'{i:04d}', frame_members(jpegs), dict(label=0, fps=5))
    config = tmp_path / 'shards.py'
    config.write_text(CONFIG.format(root=ROOT, folder=tmp_path))
    ended = run(SHARDS, config, tmp_path / 'run')
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_training_and_testing_work_without_data_tools_and_demo(demo_data, tmp_path):
    package = tmp_path / 'tree/vicmae'
    ignored = shutil.ignore_patterns('data_tools', 'demo', '.mim', '__pycache__')
    shutil.copytree(ROOT / 'vicmae', package, ignore=ignored)
    for folder in ('configs', 'tools'):
        shutil.copytree(ROOT / folder, package.parent / folder)
    config = package.parent / 'configs/vicmae/without_demo.py'
    config.write_text("_base_ = 'vicmae_vit-tiny-p8_debug.py'\ndemo_data = None\n")
    work_dir = tmp_path / 'run'
    train = ['tools/train.py', str(config), '--work-dir', str(work_dir)]
    test = ['tools/test.py', str(config), '--random-init', '--work-dir', str(tmp_path / 'test')]
    # An editable install would supply what is deleted here.
    alone = (
        'import runpy, sys\n'
        'sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]\n'
    )
    script = f'{alone}sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name="__main__")\n'

    def run_alone(code, *arguments):
        return subprocess.run(
            [sys.executable, '-c', code, *arguments],
            cwd=demo_data.parents[1],
            env={**os.environ, 'PYTHONPATH': str(package.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    missing = run_alone(f'{alone}import vicmae.demo\n')
    assert "No module named 'vicmae.demo'" in missing.stderr
    for tool, *arguments in (train, test):
        ended = run_alone(script, str(package.parent / tool), *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (work_dir / 'last_checkpoint').is_file()
    assert 'images/knn_top1' in ended.stdout
