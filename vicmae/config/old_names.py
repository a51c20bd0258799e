# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds the command that replaces a config by its former name.

Benchmarks had a config for each size, data set and protocol. Their commands are in the tables of
configs/vicmae/benchmarks/README.md, which are read here: there is no second list of them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

# (protocol, data set, size) -> name of the config, options.
Commands = dict[tuple[str, str, str], tuple[str, list[str]]]

_SIZES = ('base', 'small', 'large', 'huge')  # the columns of the table of configs
_OLD_BENCHMARK = re.compile(
    r'vicmae_vit-(?P<size>small|base|large|huge)-p\d+_(?P<protocol>finetune|linear|attentive|probes)'
    r'_(?:\S+e_)?(?P<data>[a-z0-9-]+)'
)


def command_of_old_name(stem: str, configs: Sequence[Path]) -> str | None:
    """Returns the command that replaces a config, or None if there was no config of this name.

    Args:
        stem: Name of a config that does not exist.
        configs: The project's configs.
    """
    match = _OLD_BENCHMARK.fullmatch(stem)
    if match is None:
        # The names of ablations ended before training and data.
        longer = [
            path.stem
            for path in configs
            if path.parent.name == 'ablations' and path.stem.rsplit('_', 2)[0] == stem
        ]
        return f'vicmae train {longer[0]}' if len(longer) == 1 else None
    folders = {path.parent for path in configs if path.parts[-3:-1] == ('vicmae', 'benchmarks')}
    commands = read_benchmarks(folders.pop() / 'README.md') if folders else {}
    key = match['protocol'], match['data'], match['size']
    return benchmark_command(match['protocol'], *commands[key]) if key in commands else None


def benchmark_command(protocol: str, config: str, options: Sequence[str]) -> str:
    """Returns the command line that trains a protocol, or that tests cached features."""
    if protocol != 'probes':
        options = ['model.pretrained=CHECKPOINT', *options]
    start = f'vicmae test {config} CHECKPOINT' if protocol == 'probes' else f'vicmae train {config}'
    return ' '.join([start, *(['--cfg-options', *options] if options else [])])


def read_benchmarks(readme: Path) -> Commands:
    """Reads the config and the options of each benchmark from the tables of the README."""
    lines = readme.read_text(encoding='utf-8').splitlines()
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines if line[:3] == '| `']
    data_sets = [row for row in rows if len(row) == 4]
    commands: Commands = {}
    # The row of one data set comes after the row of its kind, and replaces it.
    for protocol, kinds, *cells in (row for row in rows if len(row) == 6):
        for name, _, kind, data_options in data_sets:
            if not {name, kind} & set(kinds.split(', ')):
                continue
            for size, cell in zip(_SIZES, cells, strict=True):
                options = re.findall(r'`(.+)`', cell)
                if name != kinds:  # else the config is made for this data set
                    options += re.findall(r'`(.+)`', data_options)
                link = re.search(r'\((\S+)\.py\)', cell) or re.search(r'\((\S+)\.py\)', cells[0])
                if cell and link:
                    key = protocol.strip('`'), name.strip('`'), size
                    commands[key] = link[1], ' '.join(options).split()
    return commands
