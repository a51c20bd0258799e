# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws what collect.py has collected: a bar for the mean of each row, a dot for each seed.

python projects/miniature/plot.py    # writes projects/miniature/results.png
"""

import csv
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = {
    'random': '#b8b8b8',
    'mae': '#6f9bd1',
    'contrast': '#e0a458',
    'joint-0.03': '#3f7d4e',
    'joint-0.3': '#8fbf9a',
}
PANELS = {
    'images/knn10_top1': 'pictures of 100 classes, kNN',
    'images/logistic_top1': 'pictures of 100 classes, logistic regression',
    'ut/logistic_top1': 'clips of 6 interactions, logistic regression',
}
SIZES = dict(small='small\n16 epochs, a CPU', large='large\n40 epochs, a GPU')


def main() -> None:
    """Draws a panel for each figure, with a group of bars for each size."""
    plt.rcParams.update({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False})
    figure, panels = plt.subplots(1, len(PANELS), figsize=(11, 3.2), layout='constrained')
    for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
        for group, size in enumerate(SIZES):
            lines = list(csv.DictReader((HERE / size / 'results.csv').read_text().splitlines()))
            for place, (row, colour) in enumerate(COLOURS.items()):
                seeds = [float(line[column]) for line in lines if line['row'] == row]
                x = group * (len(COLOURS) + 1) + place
                label = row if axes is panels[0] and group == 0 else None
                axes.bar(x, mean(seeds), 0.85, color=colour, label=label)
                if len(seeds) > 1:
                    axes.plot([x] * len(seeds), seeds, '.', color='black', markersize=3)
                axes.annotate(
                    f'{mean(seeds):.0f}',
                    (x, max(seeds)),
                    (0, 3),
                    ha='center',
                    textcoords='offset points',
                )
        middle = (len(COLOURS) - 1) / 2
        ticks = [group * (len(COLOURS) + 1) + middle for group in range(len(SIZES))]
        axes.set_xticks(ticks, list(SIZES.values()))
        axes.tick_params(bottom=False)
        axes.set_title(title, fontsize=10, pad=12)
    panels[0].set_ylabel('top-1, %')
    figure.legend(loc='outside lower center', ncols=len(COLOURS), frameon=False)
    figure.savefig(HERE / 'results.png', dpi=110)


if __name__ == '__main__':
    main()
