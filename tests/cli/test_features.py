# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae features` reads durations, and refuses mistakes before it loads anything."""

import argparse
import sys

import pytest
import torch

from vicmae.apis import load_config, load_model
from vicmae.cli.features import seconds
from vicmae.cli.main import main
from vicmae.data_tools.features.files import read_features

DEBUG = 'vicmae_vit-tiny-p8_debug'


@pytest.mark.parametrize(
    ('text', 'value'),
    [('2', 2), ('2s', 2), ('1.5 s', 1.5), ('.5', 0.5), ('500ms', 0.5), ('1min', 60), ('2m', 120)],
)
def test_durations_are_in_seconds(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize('text', ['', 's', '-1', '0', '0s', '2h', '1e3', 'two', '1:30'])
def test_other_durations_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='a duration such as 2s'):
        seconds(text)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(['features', *map(str, arguments)])
    return ended.value.code


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--stride', '1s'], '--stride is the distance of windows: give --window'),
        (['--window', 'soon'], 'a duration such as 2s, 500ms or 1min'),
        (['--dense', '--per-frame'], 'not allowed with argument'),
    ],
)
def test_wrong_options_end_with_status_2(options, text, capsys):
    assert run('a.pth', 'photos', '--out', 'a.npz', *options) == 2
    assert text in capsys.readouterr().err


def test_mistakes_are_one_line(demo_data, tmp_path, capsys):
    (tmp_path / 'a.pth').write_bytes(b'no checkpoint')
    for arguments, text in (
        (('a.pth', demo_data, '--out', tmp_path / 'a.csv'), 'ends in .parquet or .npz'),
        ((tmp_path / 'b.pth', demo_data, '--out', tmp_path / 'a.npz'), 'does not exist'),
        (
            (tmp_path / 'a.pth', demo_data, '--out', tmp_path / 'a.npz'),
            'is not a PyTorch checkpoint',
        ),
    ):
        assert run(*arguments) == 1
        message = capsys.readouterr().err
        assert message.startswith('error: ') and text in message and message.count('\n') == 1
    assert not (tmp_path / 'a.npz').exists()


def test_checkpoint_without_a_config_asks_for_it(demo_data, tmp_path, capsys):
    torch.save(dict(state_dict=load_model(DEBUG).state_dict()), tmp_path / 'a.pth')
    arguments = (tmp_path / 'a.pth', demo_data / 'images/val', '--out', tmp_path / 'a.npz')
    options = ('--workers', 0, '--device', 'cpu')
    assert run(*arguments, *options) == 1
    assert 'stores no config. Name its config: `--config CONFIG`' in capsys.readouterr().err
    main(['features', *map(str, (*arguments, *options, '--config', DEBUG))])
    assert read_features(tmp_path / 'a.npz').features.shape == (16, 64)


def test_progress_is_shown_and_the_summary_printed(demo_data, tmp_path, capsys, monkeypatch):
    content = dict(state_dict=load_model(DEBUG).state_dict())
    torch.save(content | dict(meta=dict(cfg=load_config(DEBUG).pretty_text)), tmp_path / 'a.pth')
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    arguments = (tmp_path / 'a.pth', demo_data / 'images/val', '--out', tmp_path / 'a.npz')
    main(['features', *map(str, (*arguments, '--workers', 0, '--dense'))])
    printed = capsys.readouterr()
    summary = f'{tmp_path / "a.npz"}: 16 features of 16 files'
    assert printed.out.splitlines()[-1] == summary
    assert '16/16' in printed.err
