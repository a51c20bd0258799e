# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Former names of configs end in an error with the command that replaces them."""

from itertools import product

import pytest

from vicmae.config.old_names import command_of_old_name
from vicmae.config.paths import find_config, list_configs
from vicmae.errors import ConfigError

IMAGES = ('in1k', 'places365', 'inat2018')
SHOTS = ('in1k-1shot', 'in1k-5shot', 'in1k-10shot')
SHARES = ('in1k-1pct', 'in1k-10pct')
VIDEOS = ('k400', 'k600', 'k700', 'ssv2', 'ucf101', 'hmdb51')
SMALL = ['cifar10', 'cifar100', 'food101', 'cars', 'dtd', 'pets', 'flowers', 'caltech101', 'sun397']
SIZES = ('small-p16', 'base-p16', 'large-p16', 'huge-p14')
# What a name had between protocol and data, of which the rule reads nothing.
TRAININGS = {
    'finetune': '_8xb128-amp-coslr-100e',
    'linear': '_8xb2048-amp-lars-coslr-90e',
    'attentive': '_8xb64-amp-coslr-20e',
    'probes': '',
}
OLD = [
    *product(SIZES, TRAININGS, IMAGES),
    *product(SIZES, ['linear'], SHOTS),
    *product(SIZES, ['finetune'], SHARES),
    *product(SIZES[:3], TRAININGS, VIDEOS),
    *product(['base-p16'], ['finetune', 'probes'], SMALL),
]


def test_each_of_the_158_benchmarks_has_a_command_for_its_protocol_size_and_data():
    assert len(OLD) == 158
    configs = list_configs()
    names = {path.stem for path in configs}
    commands = set()
    for size, protocol, data in OLD:
        stem = f'vicmae_vit-{size}_{protocol}{TRAININGS[protocol]}_{data}'
        command = command_of_old_name(stem, configs)
        assert command, stem
        _, verb, config, *options = command.split()
        assert config in names
        assert verb == ('test' if protocol == 'probes' else 'train')
        made_for = config.split('_')[2].partition('-')[0]
        assert (made_for if protocol != 'finetune' else 'finetune') == protocol
        assert (f'model_size={size[:-4]}' in options) or f'vit-{size[:-4]}' in config
        commands.add(command)
    assert len(commands) == len(OLD)


@pytest.mark.parametrize('prefix', ['', 'configs/vicmae/benchmarks/'])
def test_old_name_or_path_of_a_benchmark_ends_in_its_command(prefix):
    name = f'{prefix}vicmae_vit-small-p16_linear_8xb64-amp-coslr-20e_ucf101.py'
    command = (
        'vicmae train vit-base-p16_vicmae-800e-pre_linear-8xb64-coslr-20e_k400 --cfg-options '
        'model.pretrained=CHECKPOINT model_size=small data_root=data/ucf101/split1 num_classes=101'
    )
    with pytest.raises(ConfigError, match='any more. Use this command') as error:
        find_config(name)
    assert str(error.value).splitlines()[1].strip() == command


def test_old_name_of_an_ablation_ends_in_its_command():
    with pytest.raises(ConfigError) as error:
        find_config('vicmae_vit-base-p16_gap-same')
    new = 'vicmae_vit-base-p16_gap-same_8xb512-amp-coslr-800e_in1k-k400'
    assert str(error.value).endswith(f'vicmae train {new}')


def test_name_that_never_was_is_compared_with_those_that_are():
    with pytest.raises(ConfigError, match='There is no config .*Did you mean'):
        find_config('vicmae_vit-tiny-p8_debugg')
