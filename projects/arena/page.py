# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the page and the picture of the arena from its results.

    python projects/arena/page.py            # docs/results/arena.md and docs/images/arena.png
    python projects/arena/page.py --check    # fails if the page is not what the results give

The conclusions are written by hand, in projects/arena/conclusions.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from bootstrap import compare, spread_over_groups
from results import FIGURES, HERE, MOTION_SETS, RESULTS, VIDEO_SETS, Result, Results
from rows import FLOPS, REFERENCE, ROWS, Row

ROOT = HERE.parents[1]
PAGE, PICTURE = ROOT / 'docs/results/arena.md', ROOT / 'docs/images/arena.png'
TABLES = dict(flops='Equal FLOPs', time='Equal time')
COMMAND = 'python projects/arena/run.py'
SETS = ('images', *VIDEO_SETS)
SEEDS = 3
_DIFFERENCES = 'Differences to ViC-MAE on both, in points, with their 95 % intervals:'
_BESIDE = 1.02
_LINK = '../../projects/arena/results'


def main() -> int:
    """Writes the page, or compares it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing, fail if it differs')
    parser.add_argument('--results', type=Path, default=RESULTS, help='folder of the results')
    parser.add_argument('--out', type=Path, default=PAGE, help='the page; links fit the default')
    args = parser.parse_args()
    results = Results(args.results)
    text = write_page(results)
    if args.check:
        if not args.out.exists() or args.out.read_text(encoding='utf-8') != text:
            print(f'{args.out} is not that of the results. Run: python projects/arena/page.py')
            return 1
        return 0
    args.out.write_text(text, encoding='utf-8')
    if results.of('flops', REFERENCE):
        picture = PICTURE if args.out == PAGE else args.out.with_suffix('.png')
        draw(results, picture)
    return 0


def write_page(results: Results) -> str:
    """Returns the page in Markdown."""
    conclusions = HERE / 'conclusions.md'
    parts = [
        '# The arena: every method on the same real data',
        '<!-- Written by projects/arena/page.py. Edit projects/arena/conclusions.md instead. -->',
    ]
    if conclusions.exists():
        parts.append(conclusions.read_text(encoding='utf-8').strip())
    if results.of('flops', REFERENCE):
        parts.append(f'![FLOPs of pretraining and score of each method](../images/{PICTURE.name})')
    longer = {
        table: f'Equal FLOPs: {table.removesuffix("-tflops")} TFLOPs' for table in results.longer
    }
    for table, title in {**TABLES, **longer}.items():
        parts += [f'## {title}', *_describe_table(results, table)]
    for group, title, text in (
        ('ablation', 'Ablations', 'ViC-MAE on both with one change, one seed, equal FLOPs.'),
        (
            'motion',
            'Variants that may keep motion',
            'ViC-MAE on both with one change, equal FLOPs, with the learning rate of ViC-MAE.',
        ),
    ):
        rows = [ROWS[REFERENCE], *(row for row in ROWS.values() if row.group == group)]
        parts += [f'## {title}', text, _table_of(results, 'flops', rows)]
        if results.of('flops', REFERENCE) and group == 'motion':
            parts += [_DIFFERENCES, _table_of_differences(results, 'flops', rows)]
    parts += [
        '## Other ways to measure',
        'Weights of equal FLOPs. kNN has 10 neighbours and the folds of the score. The attentive probe trains four\n'
        'queries and a linear classifier on frozen tokens. Fine-tuning trains one encoder of clips with a head for\n'
        'each set on all labels of `train`, for as many FLOPs as pretraining had. Both are tested on `val`: 36 clips\n'
        'of ut, 47 of skate, 334 of utdd, 80 of utdc.',
        _table_of_protocols(results),
        '## Learning rates',
        'Score on the held-out fifth of the training data, with a quarter of the FLOPs. The best is bold,\n'
        'with a star if it is the smallest or largest tried: a better one may be beyond.',
        _table_of_search(results),
    ]
    return '\n\n'.join(parts) + '\n'


def _describe_table(results: Results, table: str) -> list[str]:
    rows = [row for row in ROWS.values() if row.group == 'main']
    if table in results.longer:
        rows = [row for row in rows if results.of(table, row.name)]
    runs = [run for row in rows for run in results.of(table, row.name)]
    if not runs:
        return ['Not run yet.']
    parts = [_conditions(runs), _table_of(results, table, rows)]
    if results.of(table, REFERENCE):
        parts += [
            _DIFFERENCES,
            _table_of_differences(results, table, rows),
        ]
    return parts


def _conditions(runs: Sequence[Result]) -> str:
    """Says how the runs were made, from what they wrote."""
    contents = [run.content for run in runs]
    budgets = {_budget(content['budget']) for content in contents}
    seconds = {c['budget']['seconds'] for c in contents if 'seconds' in c['budget']}
    dates = sorted({content['date'] for content in contents})
    machines = {
        f'{c["machine"]}, {c["threads"]} threads a run, {c.get("dtype", "float32")}'
        for c in contents
    }
    versions = {f'torch {c["versions"]["torch"]}' for c in contents}
    commits = sorted({content['commit'] for content in contents})
    flops = {c['budget']['flops'] for c in contents if 'flops' in c['budget']} - {FLOPS['small']}
    command = COMMAND + (f' --budget {seconds.pop():.0f}s' if seconds else '')
    command += f' --budget {flops.pop():g}' if flops else ''
    return (
        f'`{command}`, on the [data of the arena](../../projects/arena/README.md#data).\n'
        f'Budget of a run: {" or ".join(sorted(budgets))}. {"; ".join(sorted(machines))}; '
        f'{", ".join(sorted(versions))}; {dates[0]}{" to " + dates[-1] if len(dates) > 1 else ""}; '
        f'commits {", ".join(commits)}.'
    )


def _budget(budget: dict[str, float]) -> str:
    if 'seconds' in budget:
        return f'{budget["seconds"]:.0f} s of training'
    return (
        f'{budget["flops"] / 1e12:g} TFLOPs (multiplications and additions, forward and backward)'
    )


def _table_of(results: Results, table: str, rows: Sequence[Row]) -> str:
    columns = ('score', 'images', 'videos', 'motion', *VIDEO_SETS)
    titles = [
        'pretraining', *columns, 'images, kNN', *(f'{name} by person' for name in MOTION_SETS),
        'GFLOPs a sample', 'steps', 'seconds', 'seeds',
    ]  # fmt: skip
    runs_of = {row.name: results.of(table, row.name) for row in rows}
    means = {
        row.name: {name: _mean(runs_of[row.name], name) for name in columns}
        for row in rows
        if runs_of[row.name]
    }
    best = {name: max((values[name] for values in means.values()), default=0) for name in columns}
    lines = []
    for row in rows:
        runs = runs_of[row.name]
        if not runs:
            lines.append([row.title, 'not run', *[''] * (len(titles) - 2)])
            continue
        values = means[row.name]
        figures = [
            _with_spread(
                values[name], [run.figure(name) for run in runs], values[name] == best[name]
            )
            for name in columns
        ]
        by_person = {
            name: spread_over_groups(runs, results.sets[name]['groups'], name)
            for name in MOTION_SETS
        }
        content = runs[0].content
        trained = 'flops' in content
        wanted = SEEDS if row.max_seeds is None else row.max_seeds
        lines.append(
            [
                f'[{row.title}]({_LINK}/{table}/{row.name})',
                *figures,
                f'{mean(run.accuracy("images", "knn") for run in runs):.1f}',
                *(f'± {spread:.1f}' for spread in by_person.values()),
                f'{content["flops"] / content["samples"] / 1e9:.2f}' if trained else '',
                f'{content["iterations"]}' if trained else '',
                f'{mean(run.content["seconds"] for run in runs):.0f}' if trained else '',
                f'{len(runs)}' + (f' of {wanted}' if len(runs) < wanted else ''),
            ]
        )
    if results.sets and rows[0].name == 'floor':
        chance = [f'{results.chance(name):.1f}' for name in columns]
        lines.append(['chance', *chance, *[''] * (len(titles) - len(chance) - 1)])
    return _markdown(titles, lines)


def _with_spread(value: float, values: Sequence[float], best: bool) -> str:
    """Writes a mean with the standard deviation over seeds."""
    number = f'**{value:.1f}**' if best else f'{value:.1f}'
    return number if len(values) < 2 else f'{number} ± {stdev(values):.1f}'


def _mean(runs: Sequence[Result], name: str) -> float:
    return mean(run.figure(name) for run in runs)


def _table_of_differences(results: Results, table: str, rows: Sequence[Row]) -> str:
    reference = results.of(table, REFERENCE)
    lines = []
    for row in rows:
        runs = results.of(table, row.name)
        if runs and row.name != REFERENCE:
            intervals = compare(runs, reference, results.sets)
            lines.append([row.title, *(str(intervals[name]) for name in FIGURES)])
    return _markdown(['pretraining', *FIGURES], lines)


def _table_of_protocols(results: Results) -> str:
    protocols = dict(
        knn=('flops', 'kNN'), attentive=('flops', 'attentive'), finetune=('finetune', 'fine-tuned')
    )
    names = ('images', 'videos', 'motion')
    titles = [f'{title}: {name}' for _, title in protocols.values() for name in names]
    lines = []
    for row in (row for row in ROWS.values() if row.group == 'main' and row.name != 'floor'):
        cells = []
        for classifier, (table, _) in protocols.items():
            runs = [run for run in results.of(table, row.name) if run.has(classifier)]
            cells += [
                f'{mean(run.figure(name, classifier) for run in runs):.1f}' if runs else ''
                for name in names
            ]
        if any(cells):
            lines.append([row.title, *cells])
    return _markdown(['pretraining', *titles], lines) if lines else 'Not run yet.'


def _table_of_search(results: Results) -> str:
    runs_of = {
        row.name: sorted(results.of('search', row.name), key=lambda run: run.content['lr'])
        for row in ROWS.values()
        if row.searched == row.name
    }
    rates = sorted({run.content['lr'] for runs in runs_of.values() for run in runs})
    lines = []
    for name, runs in runs_of.items():
        scores = {run.content['lr']: run.figure('score') for run in runs}
        best = max(scores, key=scores.__getitem__, default=None)
        star = r'\*' if len(scores) > 2 and best in (min(scores), max(scores)) else ''
        cells = [f'{scores[rate]:.1f}' if rate in scores else '' for rate in rates]
        if best is not None:
            place = rates.index(best)
            cells[place] = f'**{cells[place]}**{star}'
        lines.append([ROWS[name].title, *cells])
    return _markdown(['pretraining', *(f'{rate:g}' for rate in rates)], lines)


def _markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ['---', *['--:'] * (len(titles) - 1)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in (titles, rule, *lines))


def draw(results: Results, path: Path) -> None:
    """Draws FLOPs of pretraining against the score on images, on videos and on both.

    A line joins the runs of equal FLOPs (filled) and that of equal time (open). A bar is the interval of the difference
    to ViC-MAE on both: where it doesn't reach the level of that row, the row is ahead or behind. Rows of equal FLOPs
    are drawn beside each other, so that their bars can be told apart.
    """
    panels = dict(images='images', videos='videos', score='both')
    rows = [row for row in ROWS.values() if row.group == 'main']
    style = {'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}
    with plt.rc_context(style):
        figure, all_axes = plt.subplots(1, 3, figsize=(12, 5.8), layout='constrained')
        handles: dict[str, Any] = {}
        for axes, (name, title) in zip(all_axes, panels.items(), strict=True):
            for number, row in enumerate(rows):
                handle = _draw_row(axes, results, row, name, number)
                if handle is not None:
                    handles.setdefault(row.title.replace('**', ''), handle)
            axes.set_xscale('log')
            axes.set_title(title)
            axes.set_xlabel('TFLOPs of pretraining')
            axes.xaxis.set_major_formatter('{x:g}')
            axes.xaxis.set_minor_formatter('{x:g}')
        all_axes[0].set_ylabel('top-1 of logistic regression, %')
        legend = dict(loc='outside lower center', ncols=4, frameon=False)
        figure.legend(list(handles.values()), list(handles), **legend)
        figure.savefig(path, dpi=90)
        plt.close(figure)


def _draw_row(axes: Any, results: Results, row: Row, name: str, number: int) -> Any:
    reference = row.name == REFERENCE
    colour = 'black' if reference else plt.get_cmap('tab20')(number % 20)
    marker, size = ('*', 12) if reference else ('os^vD'[number % 5], 6)
    handle, ends = None, []
    for table in (*results.longer, *TABLES):
        runs = results.of(table, row.name)
        if not runs:
            continue
        values = [run.figure(name) for run in runs]
        middle = mean(values)
        if 'flops' not in runs[0].content:
            dashes = '--' if row.name == 'floor' else ':'
            return axes.axhline(middle, color='grey', linestyle=dashes)
        flops = mean(run.content['flops'] for run in runs) / 1e12
        if table != 'time':
            flops *= _BESIDE ** (number - len(ROWS) / 4)
        bar = _bar_of(results, table, row, name)
        drawn = axes.errorbar(
            flops, middle, bar, fmt=marker, markersize=size, color=colour, capsize=2,
            markerfacecolor='white' if table == 'time' else colour,
        )  # fmt: skip
        handle = handle or drawn
        ends.append((flops, middle))
    if len(ends) > 1:
        axes.plot(*zip(*sorted(ends), strict=True), color=colour, linewidth=0.8, alpha=0.6)
    return handle


def _bar_of(results: Results, table: str, row: Row, name: str) -> Any:
    """Returns the lengths of the bar below and above the value of a row."""
    reference = results.of(table, REFERENCE)
    if row.name == REFERENCE or not reference:
        return None
    interval = compare(results.of(table, row.name), reference, results.sets)[name]
    return [[interval.value - interval.low], [interval.high - interval.value]]


if __name__ == '__main__':
    raise SystemExit(main())
