# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae configs`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vicmae.apis import count_flops, load_config
from vicmae.cli.main import main
from vicmae.config.paths import list_configs, project_file

ROOT = Path(__file__).parents[2]
DEBUG = 'vicmae_vit-tiny-p8_debug'


@pytest.fixture
def listed(capsys):
    """Runs the command, and returns its lines."""

    def run(*arguments):
        main(['configs', *arguments])
        return capsys.readouterr().out.splitlines()

    return run


def test_all_configs_are_listed_by_folder_with_their_purpose(listed):
    folder, found = None, set()
    for line in listed():
        if not line.startswith(' '):
            folder = ROOT / 'configs' / line.removesuffix(':')
            continue
        name, title = line.split(maxsplit=1)
        path = folder / f'{name}.py'
        assert title == path.read_text().split('"""')[1].splitlines()[0]
        found.add(path)
    assert found == set(list_configs())


@pytest.mark.parametrize('words', [('ViT-L', 'places365', 'fine-tunes'), ('SIMCLR',)])
def test_words_filter_by_name_and_description(listed, words):
    lines = listed(*words)
    folders = [line for line in lines if not line.startswith(' ')]
    assert 0 < len(folders) < len(lines) < 10
    configs = [line for line in lines if line not in folders]
    assert all(word.lower() in line.lower() for word in words for line in configs)


def test_words_that_match_no_config_are_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['configs', 'kinetics', 'bananas'])
    assert ended.value.code == 1
    error = 'error: No config has all of these words: kinetics bananas. None has bananas.\n'
    assert capsys.readouterr().err == error


def test_path_of_a_config_is_printed(listed):
    (line,) = listed('--path', f'{DEBUG}.py')
    assert Path(line) == project_file(f'configs/vicmae/{DEBUG}.py')


def test_closed_output_ends_the_list_quietly():
    read, write = os.pipe()
    os.close(read)  # as `vicmae configs | head` does after ten lines
    command = [sys.executable, '-m', 'vicmae', 'configs']
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    ended = subprocess.run(command, env=env, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b'')


def test_show_prints_each_value_with_the_file_that_set_it(listed):
    lines = [
        line.split('  # ') for line in listed('--show', DEBUG, '--cfg-options', 'image_size=32')
    ]
    origins = {text.strip(): origin for text, origin in lines}
    assert origins['model.backbone.img_size = 32'] == 'follows image_size'
    assert origins['train_cfg.max_epochs = 2'] == f'configs/vicmae/{DEBUG}.py'


def test_diff_prints_what_two_configs_do_not_share(listed):
    names = [f'vicmae_vit-{size}-p16_8xb512-amp-coslr-800e_in1k-k400' for size in ('base', 'large')]
    assert listed('--diff', *names) == [
        "- model_size = 'base'",
        "+ model_size = 'large'",
        "- model.backbone.arch = 'base'",
        "+ model.backbone.arch = 'large'",
    ]
    assert listed('--diff', names[0], names[0]) == ['The two configs have the same values.']


def test_options_that_do_not_belong_together_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(['configs', 'debug', '--show', DEBUG])
    assert '--cfg-options belongs to --show' in capsys.readouterr().err


def test_cost_of_a_sample_is_printed_for_each_source(listed):
    options = {'model.backbone.masking.mask_ratio': 0.5}
    lines = listed('--flops', DEBUG, '--cfg-options', *(f'{k}={v}' for k, v in options.items()))
    cost = count_flops(load_config(DEBUG, options))['images']
    assert cost.total < 1e9
    figures = [f'{number / 1e6:.4g}' for number in (cost.total, cost.forward, cost.backward)]
    assert [line.split()[0] for line in lines] == ['images', 'videos']
    assert [re.findall(r'\d+\.\d+', line) for line in lines] == [figures] * 2
    assert all(' MFLOPs a sample' in line for line in lines)
