# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A checkpoint that brings code along is refused at every door, and run by none of them unless it is trusted."""

import os

import pytest
import torch
from safetensors.torch import save_file

from vicmae.apis import load_config, load_model
from vicmae.checkpoints.read import read_weights
from vicmae.errors import CheckpointError
from vicmae.registry import MODELS

from .conftest import DEBUG

SHORT = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.samples_per_epoch=8']


class Malicious:
    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return os.mkdir, (self.trap,)


@pytest.fixture
def trapped(trained, tmp_path):
    """A checkpoint of the debug config that makes a folder when pickle reads it, and the folder."""
    trap, path = tmp_path / 'trap', tmp_path / 'trapped.pth'
    content = torch.load(trained / 'iter_16.pth', weights_only=True)
    torch.save({**content, 'extra': Malicious(str(trap))}, path)
    return path, trap


DOORS = {
    'resume': lambda path, d: ['train.py', DEBUG, '--resume', path, '--work-dir', d],
    'resume of the last': lambda path, d: ['train.py', DEBUG, '--resume', '--work-dir', d],
    'load_from': lambda path, d: [
        *('train.py', DEBUG, '--work-dir', d, '--cfg-options', f'load_from={path}', *SHORT)
    ],
    'init_cfg': lambda path, d: [
        *('train.py', DEBUG, '--no-validate', '--work-dir', d, '--cfg-options', *SHORT),
        *('model.init_cfg.type=Pretrained', f'model.init_cfg.checkpoint={path}'),
    ],
    'init_cfg of a part': lambda path, d: [
        *('train.py', DEBUG, '--no-validate', '--work-dir', d, '--cfg-options', *SHORT),
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={path}',
        'model.backbone.init_cfg.prefix=backbone.',
    ],
    'test': lambda path, d: ['test.py', DEBUG, path, '--work-dir', d],
    'convert': lambda path, d: [
        *('model_converters/convert.py', '--from', 'vicmae', '--to', 'mae', path, d / 'out.pth')
    ],
    'show': lambda path, d: [
        *('../vicmae/__main__.py', 'show', path, 'data/demo-debug/images/val', '--config', DEBUG),
    ],
}


@pytest.mark.parametrize('door', DOORS)
def test_code_in_a_checkpoint_is_refused_by_every_command(run_tool, trapped, tmp_path, door):
    path, trap = trapped
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    if door == 'resume of the last':
        (work_dir / 'last_checkpoint').write_text(str(path))
    ended = run_tool(*DOORS[door](path, work_dir))
    assert ended.status == 1
    assert 'Traceback' not in ended.err
    assert 'GLOBAL posix.mkdir' in ended.err.replace('nt.mkdir', 'posix.mkdir')
    assert '`--trust-checkpoint`' in ended.err
    assert not trap.exists()


def test_code_in_a_checkpoint_is_refused_in_python(trapped, monkeypatch):
    path, trap = trapped
    cfg = load_config(DEBUG)
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    for read in (
        lambda: read_weights(path),
        lambda: load_model(load_config(DEBUG), path),
        lambda: MODELS.build(cfg.model).init_weights(),
    ):
        with pytest.raises(CheckpointError, match='without running code'):
            read()
        assert not trap.exists()


@pytest.mark.slow
def test_checkpoint_that_is_trusted_runs_its_code(run_tool, trapped, tmp_path):
    path, trap = trapped
    ended = run_tool('test.py', DEBUG, path, '--work-dir', tmp_path / 'w', '--trust-checkpoint')
    assert ended.status == 0, ended.err
    assert trap.is_dir()


def test_model_zoo_names_are_refused(run_tool, tmp_path):
    options = ['model.init_cfg.type=Pretrained', 'model.init_cfg.checkpoint=torchvision://resnet50']
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, '--cfg-options', *options)
    assert ended.status == 1
    assert "error: 'torchvision://resnet50' is a name in a model zoo" in ended.err


@pytest.mark.slow
def test_safetensors_evaluate_like_their_checkpoint(run_tool, tested, trained, tmp_path):
    weights = read_weights(trained / 'iter_16.pth')
    save_file(weights, tmp_path / 'w.safetensors')
    out = tmp_path / 'figures.json'
    begin = ['test.py', DEBUG, tmp_path / 'w.safetensors', '--work-dir', tmp_path, '--out', out]
    ended = run_tool(*begin)
    assert ended.status == 0, ended.err
    assert out.read_text() == tested[1].read_text()


def test_checkpoint_of_weights_only_cannot_be_resumed(run_tool, trained, tmp_path):
    torch.save(read_weights(trained / 'iter_16.pth'), tmp_path / 'w.pth')
    ended = run_tool('train.py', DEBUG, '--work-dir', tmp_path, '--resume', tmp_path / 'w.pth')
    assert ended.status == 1
    assert 'holds weights alone' in ended.err and 'load_from=' in ended.err
