# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A sharded checkpoint to one file, from which a run goes on."""

import pytest
import torch

from vicmae.engine.sharding import save_parts

from .conftest import DEBUG

TOOL = 'model_converters/gather.py'


@pytest.mark.slow
def test_gathered_file_is_a_checkpoint_like_any_other(run_tool, trained, tmp_path):
    checkpoint = torch.load(trained / 'iter_8.pth', weights_only=True)
    folder, out = tmp_path / 'iter_8.sharded', tmp_path / 'iter_8.pth'
    save_parts(folder, checkpoint)
    ended = run_tool(TOOL, folder, out)
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f'{out}: ')
    work_dir = tmp_path / 'resumed'
    options = ['--work-dir', work_dir, '--resume', out, '--no-validate']
    ended = run_tool('train.py', DEBUG, *options)
    assert ended.status == 0, ended.err
    states = [torch.load(d / 'iter_16.pth', weights_only=True) for d in (trained, work_dir)]
    one, other = (state['state_dict'] for state in states)
    assert all(torch.equal(one[key], other[key]) for key in one)
    lengths = [len(s['message_hub']['log_scalars']['train/loss']['history']) for s in states]
    assert lengths == [16, 16]


def test_fault_is_one_line(run_tool, tmp_path):
    ended = run_tool(TOOL, tmp_path, tmp_path / 'a.pth')
    assert ended.status == 1
    assert ended.err.startswith('error: ') and ended.err.count('\n') == 1
