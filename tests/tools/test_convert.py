# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts as a user does: there, back, and a start from the result."""

import json
import re
import shlex

import pytest
import torch
from mmengine.config import Config

from vicmae.apis import CHECKPOINT_FORMATS, load_config, load_model
from vicmae.cli.common import parse_value
from vicmae.config.paths import project_file
from vicmae.testing import randomize, toy_vicmae_config

from ..checkpoints.public_models import OmniMAE
from .conftest import DEBUG

TOOL = 'model_converters/convert.py'
SUMMARY = r'{}: (\d+) keys mapped, (\d+) unused, (\d+) missing; (\d+) other entries left out\n'


def numbers(out, path):
    """Of the summary."""
    return [int(n) for n in re.search(SUMMARY.format(re.escape(str(path))), out).groups()]


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
    """A checkpoint of the debug config, as a run writes it."""
    path = tmp_path_factory.mktemp('weights') / 'ours.pth'
    torch.save(dict(state_dict=load_model(DEBUG, seed=3).state_dict(), message_hub={}), path)
    return path


@pytest.fixture(scope='module')
def mae(run_tool, ours):
    """The same in the format of MAE."""
    path = ours.with_name('mae.pth')
    ended = run_tool(TOOL, '--from', 'vicmae', '--to', 'mae', ours, path)
    assert ended.status == 0, ended.err
    return path, ended.out


def test_every_key_is_printed(ours, mae):
    path, out = mae
    keys = torch.load(ours, weights_only=True)['state_dict']
    assert all(re.search(rf'^  {re.escape(key)} ', out, re.MULTILINE) for key in keys)
    mapped, unused, missing, left_behind = numbers(out, path)
    assert mapped + unused == len(keys)
    assert (missing, left_behind) == (0, 1)
    assert 'Start from it' not in out  # it is not ours


@pytest.mark.slow
def test_command_that_the_tool_prints_trains(run_tool, mae, tmp_path):
    back, report = tmp_path / 'back again.pth', tmp_path / 'report.json'
    arguments = ['--from', 'mae', '--to', 'vicmae', mae[0], back, '--report', report]
    ended = run_tool(TOOL, *arguments)
    assert ended.status == 0, ended.err
    content = json.loads(report.read_text())
    lengths = [len(content[name]) for name in ('mapped', 'unused', 'missing', 'left_behind')]
    assert numbers(ended.out, back) == lengths
    printed = re.search(r'Start from it: python tools/train.py CONFIG (.*)\n$', ended.out)[1]
    options = shlex.split(printed)
    assert options == [
        '--cfg-options',
        f'load_from={back}',
        'default_hooks.checkpoint_fit.strict=False',
    ]
    short = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.samples_per_epoch=8']
    still = ['optim_wrapper.optimizer.lr=0', 'optim_wrapper.optimizer.weight_decay=0']
    work_dir = tmp_path / 'run'
    trained = run_tool(
        'train.py', DEBUG, '--work-dir', work_dir, '--no-validate', *options, *short, *still
    )
    assert trained.status == 0, trained.err
    weights = torch.load(work_dir / 'iter_1.pth', weights_only=True)['state_dict']
    begun = torch.load(back, weights_only=True)['state_dict']
    taken = [key for key in begun if torch.equal(weights[key], begun[key])]
    assert {key for key in taken if key.startswith(('backbone.', 'neck.'))} == {
        entry['target'] for entry in content['mapped']
    }


@pytest.mark.slow
def test_complete_checkpoint_loads_strictly(run_tool, tmp_path):
    config = toy_vicmae_config() | dict(
        projector=dict(type='MLPHead', hidden_dim=16, out_dim=8),
        predictor=None,
        target=dict(type='SharedTarget'),
    )
    first, official, again = (tmp_path / name for name in ('a.pth', 'b.pth', 'c.pth'))
    torch.save(load_model(Config(dict(model=config))).state_dict(), first)
    there = run_tool(TOOL, '--from', 'vicmae', '--to', 'vicmae-official', first, official)
    back = run_tool(TOOL, '--from', 'vicmae-official', '--to', 'vicmae', official, again)
    assert numbers(there.out, official)[1:] == numbers(back.out, again)[1:] == [0, 0, 0]
    command = f'python tools/train.py CONFIG --cfg-options load_from={again}'
    assert back.out.endswith(f'Start from it: {command}\n')


@pytest.fixture(scope='module')
def omnimae(run_tool, tmp_path_factory):
    """A converted OmniMAE, and the options that the tool printed."""
    path = tmp_path_factory.mktemp('omnimae')
    torch.save(randomize(OmniMAE()).state_dict(), path / 'public.torch')
    arguments = ['--from', 'omnimae', '--to', 'vicmae', path / 'public.torch', path / 'ours.pth']
    ended = run_tool(TOOL, *arguments)
    assert ended.status == 0, ended.err
    assert numbers(ended.out, path / 'ours.pth')[1:] == [0, 0, 0]
    return path / 'ours.pth', re.search('Options of its model: (.*)\n', ended.out)[1]


def test_options_that_the_tool_prints_make_a_model_that_loads(omnimae):
    checkpoint, printed = omnimae
    overrides = dict(option.split('=', 1) for option in shlex.split(printed))
    overrides = {key: parse_value(value) for key, value in overrides.items()}
    assert overrides.pop('model.backbone.arch')['embed_dims'] == 16
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)
    overrides |= {'model.backbone.arch': arch, 'model.neck.num_heads': 2}
    cfg = load_config(project_file('configs/mae/mae_vit-tiny-p8_debug.py'), overrides)
    load_model(cfg, checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['finetune', 'finetune-video'])
def test_converted_checkpoint_is_fine_tuned_with_the_printed_options(
    run_tool, omnimae, tmp_path, kind
):
    checkpoint, printed = omnimae
    options = [option for option in shlex.split(printed) if not option.startswith('model.neck')]
    trained = run_tool(
        'train.py',
        f'vicmae_vit-tiny-p8_{kind}_debug',
        *('--work-dir', tmp_path, '--no-validate', '--cfg-options'),
        *(f'model.pretrained={checkpoint}', 'train_cfg.max_epochs=1', *options),
    )
    assert trained.status == 0, trained.err
    assert re.search(r"Weights of '.*ours.pth' \(student\): 28 mapped, ", trained.out + trained.err)


def test_errors_of_users_end_in_one_line(run_tool, ours, mae, tmp_path):
    pair = ['--from', 'mae', '--to', 'vicmae']
    faults = [
        (
            [*pair, ours, tmp_path / 'out.pth'],
            'looks like a `vicmae` checkpoint: use --from vicmae',
        ),
        ([*pair, mae[0], ours], 'overwrite it with --force'),
        ([*pair, tmp_path / 'no.pth', tmp_path / 'out.pth'], 'does not exist'),
        (
            ['--from', 'mae', '--to', 'mae', mae[0], tmp_path / 'out.pth'],
            'one of the formats must be',
        ),
    ]
    for arguments, message in faults:
        ended = run_tool(TOOL, *arguments)
        assert ended.status == 1
        assert ended.err.startswith('error: ')
        assert ended.err.count('\n') == 1
        assert message in ended.err
        assert not ended.out
    assert not list(tmp_path.iterdir())


def test_help_has_an_example_and_all_formats(run_tool):
    ended = run_tool(TOOL, '--help')
    assert ended.status == 0
    assert 'convert.py --from mae --to vicmae mae_pretrain_vit_base.pth mae.pth' in ended.out
    assert f'--from {{{",".join(CHECKPOINT_FORMATS)}}}' in ended.out
