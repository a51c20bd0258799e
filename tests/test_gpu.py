# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
DEBUG = 'configs/vicmae/vicmae_vit-tiny-p8_debug.py'

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get('FAIL_WITHOUT_CUDA'),
    reason='needs a GPU (FAIL_WITHOUT_CUDA=1 makes this a failure)',
)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize(
    'launcher', [[], ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1']]
)
def test_debug_config_trains_in_mixed_precision_on_a_gpu(tmp_path, dtype, launcher):
    options = ['--launcher', 'pytorch'] if launcher else []  # with nccl
    command = [sys.executable, *launcher, 'tools/train.py', DEBUG, '--work-dir', tmp_path, '--amp']
    subprocess.run(
        [*command, '--no-validate', *options, '--cfg-options', f'optim_wrapper.dtype={dtype}'],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=True,
    )
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) > 0
    assert all(math.isfinite(row['loss']) for row in rows)
    assert (tmp_path / 'last_checkpoint').is_file()
