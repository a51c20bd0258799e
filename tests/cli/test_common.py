# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the command-line tools share: options, exit statuses, messages."""

import argparse
import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from vicmae.cli.common import add_config_options, add_launcher_options, parse_value, run_tool
from vicmae.errors import ConfigError, DataError


def parse(*argv):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    add_launcher_options(parser)
    return parser.parse_args(argv)


class Unreadable:
    """A data set whose samples can't be read."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise DataError("Can't read the image 'a.jpg': broken data stream.")


# ------------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('8', 8),
        ('1e-3', 1e-3),
        ('True', True),
        ('false', False),
        ('None', None),
        ('none', None),
        ('MaxPooling', 'MaxPooling'),
        ('data/my photos', 'data/my photos'),
        ('[1,2]', [1, 2]),
        ('1,2', [1, 2]),
        ('(0.2,1.0)', (0.2, 1.0)),
        ('a,b', ['a', 'b']),
        ('a,2,None', ['a', 2, None]),
        ('"8"', '8'),
        ("{'k': 1}", {'k': 1}),
        ("[dict(type='A', n=dict(k=1))]", [{'type': 'A', 'n': {'k': 1}}]),
        ('dict()', {}),
        ('dict(k=print(1))', 'dict(k=print(1))'),
        ('', ''),
    ],
)
def test_values_are_parsed_from_text(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_pairs_go_into_one_dict_and_later_ones_win():
    args = parse('--cfg-options', 'a.b=1', 'c=x=y', '--cfg-options', 'a.b=2')
    assert args.cfg_options == {'a.b': 2, 'c': 'x=y'}


def test_no_pairs_give_an_empty_dict_that_is_not_shared():
    parse('--cfg-options', 'a=1')
    assert parse().cfg_options == {}


@pytest.mark.parametrize('pair', ['lr', '=3'])
def test_pair_without_key_or_sign_is_refused(pair, capsys):
    with pytest.raises(SystemExit) as ended:
        parse('--cfg-options', pair)
    assert ended.value.code == 2
    assert f'--cfg-options takes KEY=VALUE, got {pair!r}' in capsys.readouterr().err


@pytest.mark.parametrize('spelling', ['--local_rank=3', '--local-rank=3'])
def test_rank_is_taken_in_both_spellings(spelling):
    assert parse(spelling, '--launcher', 'pytorch').local_rank == 3


def test_unknown_launcher_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse('--launcher', 'ray')
    assert "invalid choice: 'ray'" in capsys.readouterr().err


# ------------------------------------------------------------------------- ends
def end_of(main, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    return ended.value.code, capsys.readouterr().err


def test_error_that_a_user_can_fix_prints_only_its_message(capsys, monkeypatch):
    monkeypatch.delenv('VICMAE_TRACEBACK', raising=False)

    def main():
        raise ConfigError('`lr` must be positive, got -1.')

    assert end_of(main, capsys) == (1, 'error: `lr` must be positive, got -1.\n')


def test_traceback_is_shown_on_request(monkeypatch):
    monkeypatch.setenv('VICMAE_TRACEBACK', '1')

    def main():
        raise ConfigError('wrong')

    with pytest.raises(ConfigError, match='wrong'):
        run_tool(main)


def test_bugs_of_the_program_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 / 0)


def test_interrupt_ends_with_the_usual_status(capsys):
    def main():
        raise KeyboardInterrupt

    assert end_of(main, capsys) == (130, '\nInterrupted.\n')


@pytest.mark.parametrize('num_workers', [0, 1])
def test_message_from_a_worker_comes_without_its_traceback(num_workers, capsys):
    def main():
        list(DataLoader(Unreadable(), num_workers=num_workers))

    expected = "error: Can't read the image 'a.jpg': broken data stream.\n"
    assert end_of(main, capsys) == (1, expected)


def test_importing_the_options_imports_nothing_heavy():
    code = 'import sys, vicmae.cli.common; print([m for m in ("torch", "mmengine") if m in sys.modules])'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout == '[]\n'
