# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae COMMAND`, where the packages are installed and where they are missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vicmae import __version__
from vicmae.cli.main import find_commands, main

ROOT = Path(__file__).parents[2]
COMMANDS = (
    'configs', 'demo', 'doctor', 'export', 'features', 'search', 'show', 'test', 'train', 'verify', 'verify-export',
)  # fmt: skip
# What the console script that pip installs looks like.
SCRIPT = 'import sys\nfrom vicmae.cli.main import main\nsys.exit(main())\n'


def run_python(*arguments, **kwargs):
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, **kwargs)


def test_each_file_is_a_command():
    assert tuple(find_commands()) == COMMANDS


def test_help_lists_all_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf'\n    {name}\s', listed)] == []


@pytest.mark.parametrize('command', [[], *([name] for name in COMMANDS)], ids=' '.join)
def test_help_imports_nothing_heavy(command):
    code = (
        'import sys\nfrom vicmae.cli.main import main\n'
        'try: main(sys.argv[1:])\n'
        'except SystemExit as end: print(end.code, {"torch", "mmengine", "numpy"} & {*sys.modules})'
    )
    ended = run_python('-c', code, *command, '--help')
    assert ended.stdout.startswith(f'usage: {" ".join(["vicmae", *command])} ')
    assert ended.stdout.endswith('0 set()\n')


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'vicmae {__version__}\n'


@pytest.mark.parametrize('arguments', [[], ['docter']])
def test_missing_or_unknown_command_is_refused_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert 'COMMAND' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['train', 'test'])
def test_misspelt_config_ends_in_one_line_with_the_nearest_names(command, capsys):
    options = ['--random-init'] if command == 'test' else []
    with pytest.raises(SystemExit) as ended:
        main([command, 'vicmae_vit-tiny-p8_debog', *options])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: There is no config 'vicmae_vit-tiny-p8_debog'. Did you mean ")
    assert 'vicmae_vit-tiny-p8_debug' in message and message.count('\n') == 1


# Without the module `site` there are no site-packages.
@pytest.fixture(params=['script', 'module'])
def bare_vicmae(request, tmp_path):
    """Runs `vicmae` where no package is installed."""
    script = tmp_path / 'vicmae'
    script.write_text(SCRIPT)
    begin = [script] if request.param == 'script' else ['-m', 'vicmae']
    return lambda *arguments: run_python('-S', *begin, *arguments)


def test_help_works_without_packages(bare_vicmae):
    ended = bare_vicmae('train', '--help')
    assert (ended.returncode, ended.stderr) == (0, '')


def test_training_without_packages_ends_in_one_message(bare_vicmae):
    ended = bare_vicmae('train', 'vicmae_vit-tiny-p8_debug')
    assert ended.returncode == 1
    assert ended.stderr.startswith('error: vicmae does not work with the installed packages')
    assert 'no torch, torchvision' in ended.stderr
    assert 'Traceback' not in ended.stderr


def test_configs_are_listed_without_packages(bare_vicmae):
    ended = bare_vicmae('configs', 'debug', 'mae_vit')
    assert (ended.returncode, ended.stderr) == (0, '')
    assert '\n  vicmae_vit-tiny-p8_debug ' in ended.stdout


@pytest.mark.parametrize('tool', ['train.py', 'test.py', 'demo.py'])
def test_tool_says_how_to_install_what_is_missing(tool):
    ended = run_python('-S', ROOT / 'tools' / tool)
    assert ended.returncode == 1
    assert ended.stderr.startswith('error: vicmae does not work with the installed packages')
    assert ended.stderr.endswith('Run `make setup`, then `source .venv/bin/activate`.\n')


@pytest.mark.parametrize(
    ('files', 'hint'),
    [([], 'No checkpoint has been written yet: nothing is saved.'), (['iter_4.pth'], '`--resume`')],
)
def test_interrupted_training_says_what_is_saved(files, hint, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr('vicmae.apis.build_runner', interrupted)
    options = ['--work-dir', str(tmp_path), '--resume']
    with pytest.raises(SystemExit) as ended:
        main(['train', 'vicmae_vit-tiny-p8_debug', *options])
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith(f'\nInterrupted. {hint}')
