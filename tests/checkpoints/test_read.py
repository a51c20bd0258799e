# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import argparse
import os
import zipfile
from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from vicmae.checkpoints.read import read_checkpoint, read_weights, require_checkpoint
from vicmae.errors import CheckpointError
from vicmae.testing import toy_runner


class Malicious:
    """An object that makes pickle call a function when it is read."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_checkpoint_of_a_run_has_the_models_weights(tmp_path):
    runner = toy_runner(tmp_path, max_epochs=1, checkpoints=True)
    runner.train()
    weights = read_weights(tmp_path / 'epoch_1.pth')
    expected = runner.model.state_dict()
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


@pytest.mark.parametrize(
    'content',
    [
        {'weight': torch.ones(2)},
        {'state_dict': {'weight': torch.ones(2)}, 'meta': {'epoch': 3}},
        {'state_dict': OrderedDict({'module.weight': torch.ones(2)})},
        {'state_dict': {'weight': torch.ones(2)}, 'log': HistoryBuffer([1.0], [1])},
        {'state_dict': {'weight': torch.ones(2)}, 'seen': [np.float64(2), np.arange(3)]},
        {'model': {'weight': torch.ones(2)}, 'optimizer': {'state': {}}, 'epoch': 3},
        {'model': OrderedDict({'module.weight': torch.ones(2)}), 'args': argparse.Namespace(lr=1)},
        {'model': {'weight': torch.ones(2)}, 'args': argparse.Namespace(output_dir=Path('out'))},
    ],
)
def test_state_dict_is_found_and_the_ddp_prefix_removed(tmp_path, content):
    torch.save(content, tmp_path / 'weights.pth')
    weights = read_weights(tmp_path / 'weights.pth')
    assert list(weights) == ['weight']
    assert torch.equal(weights['weight'], torch.ones(2))


def test_entries_besides_the_weights_are_named(tmp_path):
    beside = {'optimizer': {}, 'epoch': 3, 'args': argparse.Namespace(folder=Path('out'))}
    for name in ('state_dict', 'model'):
        torch.save({name: {'weight': torch.ones(2)}, **beside}, tmp_path / 'weights.pth')
        weights, rest = read_checkpoint(tmp_path / 'weights.pth')
        assert list(weights) == ['weight']
        assert rest == list(beside)
    torch.save({'weight': torch.ones(2)}, tmp_path / 'weights.pth')
    assert read_checkpoint(tmp_path / 'weights.pth')[1] == []


def test_weight_named_like_an_entry_of_a_checkpoint_is_a_weight(tmp_path):
    torch.save({'model': torch.ones(2), 'bias': torch.ones(3)}, tmp_path / 'weights.pth')
    assert list(read_weights(tmp_path / 'weights.pth')) == ['model', 'bias']


def test_file_that_numpy_1_wrote_is_read(tmp_path):
    content = {'model': {'weight': torch.ones(2)}, 'best': [np.float64(2), np.arange(3)]}
    torch.save(content, tmp_path / 'new.pth')
    with (
        zipfile.ZipFile(tmp_path / 'new.pth') as new,
        zipfile.ZipFile(tmp_path / 'old.pth', 'w') as old,
    ):
        for name in new.namelist():
            data = new.read(name)
            if name.endswith('data.pkl'):
                data = data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
                assert data.count(b'numpy.core.multiarray') == 2
            old.writestr(name, data)
    assert list(read_weights(tmp_path / 'old.pth')) == ['weight']


@pytest.mark.parametrize('whole_file', [True, False])
@pytest.mark.parametrize('function', [os.mkdir, os.system, eval])
def test_code_in_a_checkpoint_is_not_run(tmp_path, function, whole_file):
    trap = tmp_path / 'trap'
    argument = {
        os.mkdir: str(trap),
        os.system: f'touch {trap}',
        eval: f'__import__("os").mkdir({str(trap)!r})',
    }[function]
    malicious = Malicious(function, argument)
    content = malicious if whole_file else {'state_dict': {'weight': torch.ones(2)}, 'x': malicious}
    path = tmp_path / 'weights.pth'
    torch.save(content, path)
    with pytest.raises(
        CheckpointError, match=f"Can't read the checkpoint '{path}' without running code"
    ):
        read_weights(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists()  # the trap was a real one


@pytest.mark.parametrize(('value', 'trusted'), [('1', True), ('0', False), ('', False)])
def test_only_the_value_1_means_trust(tmp_path, monkeypatch, value, trusted):
    monkeypatch.setenv('VICMAE_TRUST_CHECKPOINT', value)
    trap, path = tmp_path / 'trap', tmp_path / 'weights.pth'
    torch.save({'state_dict': {'w': torch.ones(2)}, 'x': Malicious(os.mkdir, str(trap))}, path)
    with nullcontext() if trusted else pytest.raises(CheckpointError, match='without running code'):
        read_weights(path)
    assert trap.exists() is trusted


def test_code_in_the_arguments_of_a_run_is_not_run(tmp_path):
    trap, path = tmp_path / 'trap', tmp_path / 'weights.pth'
    arguments = argparse.Namespace(output_dir=Malicious(os.mkdir, str(trap)))
    torch.save({'model': {'weight': torch.ones(2)}, 'args': arguments}, path)
    with pytest.raises(CheckpointError, match='without running code'):
        read_weights(path)
    assert not trap.exists()


def test_code_reached_through_getattr_is_not_run(tmp_path):
    trap, path = tmp_path / 'trap', tmp_path / 'weights.pth'
    reach = Malicious(getattr, trap, 'mkdir')

    class Call:
        def __reduce__(self):
            return _call, (reach,)

    torch.save({'state_dict': {'weight': torch.ones(2)}, 'x': [reach, Call()]}, path)
    with pytest.raises(CheckpointError, match='without running code'):
        read_weights(path)
    assert not trap.exists()


def _call(function):
    return function()


@pytest.mark.parametrize('share', [0.2, 0.9, 0.999])
def test_truncated_file_is_refused_with_its_size(tmp_path, share):
    torch.save({'state_dict': {'weight': torch.ones(1000)}}, tmp_path / 'whole.pth')
    content = (tmp_path / 'whole.pth').read_bytes()
    torn = tmp_path / 'torn.pth'
    torn.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        CheckpointError, match=rf'truncated \({torn.stat().st_size} bytes\).*last_ch'
    ):
        read_weights(torn)


def test_corrupt_file_is_refused(tmp_path):
    path = tmp_path / 'damaged.pth'
    torch.save({'state_dict': {'weight': torch.ones(2)}}, path)
    path.write_bytes(path.read_bytes().replace(b'_rebuild_tensor_v2', b'_rebuild_tensor_xx'))
    with pytest.raises(CheckpointError, match="Can't read the checkpoint '.*damaged.pth'"):
        read_weights(path)


@pytest.mark.parametrize('name', ['missing.pth', ''])
def test_missing_file_and_folder_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match=f"The checkpoint '{tmp_path / name}' does not exist"):
        require_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    'content',
    [[1, 2], {}, {'state_dict': {}}, {'state_dict': [1]}, {'weights': {}}, {'model': {}}],
)
def test_checkpoint_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'empty.pth')
    with pytest.raises(CheckpointError, match='empty.pth. has no state dict'):
        read_weights(tmp_path / 'empty.pth')


def test_keys_that_collide_without_the_ddp_prefix_are_refused(tmp_path):
    weight = torch.zeros(1)
    torch.save({'norm.weight': weight, 'module.norm.weight': weight}, tmp_path / 'two.pth')
    with pytest.raises(
        CheckpointError, match='both with and without .* `module.`: 2 keys, 1 names'
    ):
        read_weights(tmp_path / 'two.pth')
