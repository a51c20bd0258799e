# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The code of the guides on an own part and an own method, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def write_code(page, folder):
    """Writes each block of Python into the file that is named last before it; later ones with no name of their own
    are only sketches."""
    text = (ROOT / 'docs/guides' / page).read_text(encoding='utf-8')
    names = []
    for before, code in re.findall(r'(.*?)^```python\n(.*?)^```$', text, re.M | re.S):
        named = re.findall(r'`(\w+\.py)`', before)
        if named and named[-1] not in names:
            names.append(named[-1])
            (folder / named[-1]).write_text(code, encoding='utf-8')
    return names


def run(folder, *arguments):
    environment = {**os.environ, 'PYTHONPATH': f'{folder}{os.pathsep}{ROOT}'}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, timeout=300,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.slow
def test_own_part_of_the_guide_passes_its_check_and_trains(tmp_path):
    assert write_code('own_part.md', tmp_path) == ['gated.py', 'my_config.py', 'check.py']
    run(tmp_path, 'check.py')
    assert 'loss_contrastive: ' in run(tmp_path, '-m', 'vicmae', 'train', 'my_config.py')


@pytest.mark.slow
def test_own_method_of_the_guide_trains_and_is_evaluated(tmp_path):
    assert write_code('own_method.md', tmp_path) == ['barlow.py', 'barlow_debug.py']
    log = run(tmp_path, '-m', 'vicmae', 'train', 'barlow_debug.py')
    assert 'loss_redundancy: ' in log
    assert 'images/knn_top1: ' in log
