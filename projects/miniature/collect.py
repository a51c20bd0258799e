# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Puts the figures of projects/miniature/run.sh and transfer.sh into tables.

python projects/miniature/collect.py

Writes results.csv (a line for each row and seed) and transfer.csv (a line for each protocol, weights and seed) of
projects/miniature/small and large from what lies in work_dirs/miniature and work_dirs/miniature-large, keeps lines of
other runs, and prints the means.
"""

import csv
import json
from pathlib import Path
from statistics import mean

HERE = Path(__file__).parent
RUNS = dict(small=Path('work_dirs/miniature'), large=Path('work_dirs/miniature-large'))
ROWS = ('random', 'mae', 'contrast', 'joint-0.03', 'joint-0.3')
FIGURES = (
    'images/knn10_top1',
    'images/knn20_top1',
    'images/logistic_top1',
    'images/linear_top1',
    'images/effective_rank',
    'skate/knn10_top1',
    'skate/logistic_top1',
    'skate/linear_top1',
    'ut/knn10_top1',
    'ut/logistic_top1',
    'ut/linear_top1',
    'images/chance',
    'skate/chance',
    'ut/chance',
)
PROTOCOLS = tuple(
    f'{protocol}-{kind}'
    for kind in ('images', 'videos')
    for protocol in ('finetune', 'linear', 'attentive', *(['few-shot'] if kind == 'images' else []))
)


def update_table(
    path: Path, titles: list[str], found: list[list[str]], order: tuple[str, ...]
) -> list[list[str]]:
    """Writes a CSV file, and keeps the lines of runs that aren't here; returns all of its lines."""
    num_keys = titles.index('seed') + 1
    lines = {}
    if path.exists():
        known, *kept = csv.reader(path.read_text(encoding='utf-8').splitlines())
        lines = {tuple(line[:num_keys]): line for line in kept if known == titles}
    lines.update({tuple(line[:num_keys]): line for line in found})
    all_lines = sorted(lines.values(), key=lambda line: (order.index(line[0]), line[1:num_keys]))
    if found:
        path.parent.mkdir(exist_ok=True)
        with open(path, 'w', newline='', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerows([titles, *all_lines])
    print(f'{path}: {len(all_lines)} lines, {len(found)} of runs that are here')
    return all_lines


def print_means(lines: list[list[str]], num_keys: int) -> None:
    """Prints the mean over seeds of all lines that agree in their first columns."""
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for line in lines:
        groups.setdefault(tuple(line[:num_keys]), []).append(line[num_keys + 1 :])
    for key, group in groups.items():
        means = (f'{mean(map(float, column)):.1f}' for column in zip(*group, strict=True))
        print('|', ' | '.join([*key, str(len(group)), *means]), '|')


def collect(runs: Path, tables: Path) -> None:
    """Collects the runs of one size.

    Args:
        runs: Where they are.
        tables: Folder of the tables.
    """
    lines = []
    for row in ROWS:
        for path in sorted(runs.glob(f'{row}/seed*/figures.json')):
            figures = json.loads(path.read_text())
            seed = path.parent.name.removeprefix('seed')
            lines.append([row, seed, *(f'{figures[name]:.2f}' for name in FIGURES)])
    titles = ['row', 'seed', *FIGURES]
    print_means(update_table(tables / 'results.csv', titles, lines, ROWS), num_keys=1)

    lines = []
    for protocol in PROTOCOLS:
        for path in sorted(runs.glob(f'transfer/{protocol}/*/seed*/figures.json')):
            weights, seed = path.parts[-3], path.parts[-2].removeprefix('seed')
            figures = json.loads(path.read_text())
            values = (figures[f'accuracy/{name}'] for name in ('top1', 'mean_class'))
            lines.append([protocol, weights, seed, *(f'{value:.2f}' for value in values)])
    titles = ['protocol', 'weights', 'seed', 'top1', 'mean_class']
    print_means(update_table(tables / 'transfer.csv', titles, lines, PROTOCOLS), num_keys=2)


if __name__ == '__main__':
    for size, runs in RUNS.items():
        collect(runs, HERE / size)
