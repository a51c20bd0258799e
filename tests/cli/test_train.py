# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae train` without a config, on folders."""

import argparse
import os
import re
import subprocess
import sys

import pytest

from vicmae.cli import train
from vicmae.config.quick_start import METHODS


def vicmae_train(*options, cwd=None):
    command = [sys.executable, '-m', 'vicmae', 'train', *map(str, options)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=cwd, env=environment, check=False
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ([], 'Give a config .* or folders to train on: `--images DIR`'),
        (['--labelled', 'x'], 'folders to train on: `--images DIR`'),
        (['--images', 'x'], 'Name a folder .*: `--out DIR`'),
        (['a_config', '--images', 'x', '--out', 'y'], "'a_config' is given as well"),
        (
            ['a_config', '--image-size', '96', '--epochs', '3'],
            'use `--cfg-options image_size=96 train_cfg.max_epochs=3`',
        ),
        (['--image-size', '96', '--out', 'y'], 'folders to train on'),
        (['--images', 'x', '--out', 'y', '--launcher', 'pytorch'], 'write the config first'),
    ],
)
def test_incomplete_choices_end_in_one_line(monkeypatch, capsys, options, message):
    from vicmae.cli.main import main

    monkeypatch.setattr(sys, 'argv', ['vicmae', 'train', *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    assert re.search(message, error)


@pytest.mark.slow
def test_folders_train_a_tiny_model_and_measure_knn(demo_data, tmp_path):
    options = [
        *('--images', demo_data / 'images/train', '--videos', demo_data / 'videos/train'),
        *('--labelled', demo_data / 'images', '--image-size', 32, '--size', 'tiny'),
        *('--epochs', 1, '--batch-size', 16, '--out', tmp_path),
    ]
    first = vicmae_train(*options)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / 'run/epoch_1.pth').exists()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'images/knn_top1' in log
    again = vicmae_train(*options)
    assert again.returncode == 1
    assert 'holds a run' in again.stderr


def test_every_method_of_own_folders_is_a_choice():
    # Written out in the command, since `METHODS` takes seconds to import.
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    (method,) = [action for action in parser._actions if action.dest == 'method']
    assert method.choices == list(METHODS)
