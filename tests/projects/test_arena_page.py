# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The intervals of the arena are those of a paired bootstrap, and its page says what the results say."""

import json
from pathlib import Path

import numpy as np
import pytest

PERSONS = [f'person{i % 8}' for i in range(160)]
GROUPS = dict(
    images=[f'g{i}' for i in range(100)],
    ut=[f'seq{i % 20}' for i in range(120)],
    skate=[f'look{i % 30}' for i in range(90)],
    utdd=PERSONS,
    utdc=PERSONS[:80],
)
SETS = {name: dict(groups=groups, classes=4, chance=25.0) for name, groups in GROUPS.items()}


def run_of(arena, rng, seed, *, accuracy=0.5, row='mae', table='flops', by_group=0.0):
    """Makes a run whose samples are right with a probability that differs between groups."""
    right = {}
    for name, groups in GROUPS.items():
        names, ids = np.unique(groups, return_inverse=True)
        chances = accuracy + by_group * np.random.default_rng(len(names)).standard_normal(
            len(names)
        )
        marks = ''.join(map(str, (rng.random(len(ids)) < chances[ids]).astype(int)))
        right[name] = dict(logistic=marks, knn=marks, attentive=marks[::2])
    content = dict(
        row=row, table=table, seed=seed, lr=1e-3, budget=dict(flops=1e12), iterations=10,
        batch_size=8, samples=80, flops=9.6e11, seconds=12.0, threads=2, dtype='float32',
        machine='a machine', versions=dict(torch='2.12.1'), commit='abc1234', date='2026-12-01',
        right=right,
    )  # fmt: skip
    return arena.results.Result(Path('none'), content)


def test_bootstrap_equals_a_slow_one(arena):
    rng = np.random.default_rng(0)
    ours = [run_of(arena, rng, seed, accuracy=0.6) for seed in range(3)]
    theirs = [run_of(arena, rng, seed, accuracy=0.5) for seed in range(3)]
    replicates = 50
    intervals = arena.bootstrap.compare(ours, theirs, SETS, replicates=replicates)
    draw = arena.bootstrap._draw
    scores = []
    for r in range(replicates):
        values = {}
        for name, groups in GROUPS.items():
            names = sorted(set(groups))
            total, count = 0.0, 0
            for seed, times in enumerate(draw('seeds', 3, replicates)[r]):
                for group, copies in zip(
                    names, draw(' '.join(names), len(names), replicates)[r], strict=True
                ):
                    for i in (i for i, own in enumerate(groups) if own == group):
                        delta = float(ours[seed].marks(name)[i]) - float(
                            theirs[seed].marks(name)[i]
                        )
                        total += times * copies * delta
                        count += times * copies
            values[name] = 100 * total / count
        videos = np.mean([values[name] for name in ('ut', 'skate', 'utdd', 'utdc')])
        scores.append((values['images'] + videos) / 2)
    low, high = np.percentile(scores, [2.5, 97.5])
    assert (intervals['score'].low, intervals['score'].high) == pytest.approx((low, high))
    plain = np.mean(
        [a.figure('score') - b.figure('score') for a, b in zip(ours, theirs, strict=True)]
    )
    assert intervals['score'].value == pytest.approx(plain)


def test_interval_contains_the_true_difference_as_often_as_it_says(arena):
    rng = np.random.default_rng(1)
    trials = 120
    hits = 0
    for _ in range(trials):
        ours, theirs = (
            [run_of(arena, rng, seed, accuracy=level, by_group=0.1) for seed in range(3)]
            for level in (0.6, 0.5)
        )
        interval = arena.bootstrap.compare(ours, theirs, SETS, replicates=300)['score']
        hits += interval.low <= 10 <= interval.high
    assert 0.85 < hits / trials <= 1


def test_a_row_does_not_differ_from_itself(arena):
    runs = [run_of(arena, np.random.default_rng(2), seed) for seed in range(3)]
    for interval in arena.bootstrap.compare(runs, runs, SETS, replicates=100).values():
        assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_more_groups_give_a_narrower_interval(arena):
    def width(num_groups):
        rng = np.random.default_rng(7)
        sets = {
            name: dict(groups=[f'{name}{i % num_groups}' for i in range(len(groups))])
            for name, groups in GROUPS.items()
        }
        ours, theirs = ([run_of(arena, rng, seed) for seed in range(3)] for _ in range(2))
        for name, labelled in sets.items():  # samples of a group are right together
            right = rng.integers(2, size=num_groups)
            for run in ours:
                marks = ''.join(str(right[int(g.removeprefix(name))]) for g in labelled['groups'])
                run.content['right'][name] = dict(logistic=marks)
        interval = arena.bootstrap.compare(ours, theirs, sets, replicates=500)['score']
        return interval.high - interval.low

    assert width(5) > width(20) > width(80)


def test_persons_of_two_sets_are_drawn_together(arena):
    """Where a person is hard in both sets, the interval of both is as wide as that of one."""
    rng = np.random.default_rng(3)
    ours, theirs = ([run_of(arena, rng, seed)] for seed in (0, 0))
    for runs, person in ((ours, 'person0'), (theirs, 'person1')):
        for name in ('utdd', 'utdc'):
            marks = ''.join('1' if group == person else '0' for group in GROUPS[name])
            runs[0].content['right'][name] = dict(logistic=marks, knn=marks)
    intervals = arena.bootstrap.compare(ours, theirs, SETS, replicates=2000)
    only_one = {name: SETS[name] for name in SETS}
    names = [f'other{g}' for g in PERSONS[:80]]
    only_one['utdc'] = dict(SETS['utdc'], groups=names)
    apart = arena.bootstrap.compare(ours, theirs, only_one, replicates=2000)
    assert apart['motion'].high - apart['motion'].low < 0.85 * (
        intervals['motion'].high - intervals['motion'].low
    )


def test_spread_over_persons_is_that_of_their_accuracies(arena):
    runs = [run_of(arena, np.random.default_rng(4), seed) for seed in range(2)]
    by_person = [
        100
        * np.mean(
            [
                [m for m, g in zip(run.marks('utdd'), PERSONS, strict=True) if g == person]
                for run in runs
            ]
        )
        for person in sorted(set(PERSONS))
    ]
    spread = arena.bootstrap.spread_over_groups(runs, PERSONS, 'utdd')
    assert spread == pytest.approx(np.std(by_person, ddof=1))


@pytest.fixture
def folder(arena, tmp_path):
    """A folder with results of three rows, one of them with a single seed."""
    rng = np.random.default_rng(5)
    (tmp_path / 'sets.json').write_text(json.dumps(SETS))
    for row, seeds, level in (('vicmae', 3, 0.7), ('mae', 3, 0.5), ('simclr', 1, 0.4)):
        for seed in range(seeds):
            path = tmp_path / 'flops' / row / f'seed{seed}.json'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run_of(arena, rng, seed, accuracy=level, row=row).content))
    return tmp_path


def test_page_has_the_means_of_the_results_and_names_what_is_missing(arena, folder):
    results = arena.results.Results(folder)
    page = arena.page.write_page(results)
    runs = results.of('flops', 'mae')
    mean = np.mean([run.figure('score') for run in runs])
    spread = np.std([run.figure('score') for run in runs], ddof=1)
    link = '[MAE, both](../../projects/arena/results/flops/mae)'
    assert f'| {link} | {mean:.1f} ± {spread:.1f} |' in page
    assert '| chance | 25.0 | 25.0 |' in page
    assert '| VideoMAE | not run |' in page
    assert '| 1 of 3 |' in page
    assert '## Equal time\n\nNot run yet.' in page
    interval = arena.bootstrap.compare(runs, results.of('flops', 'vicmae'), SETS)['images']
    assert str(interval) in page
    arena.page.draw(results, folder / 'picture.png')
    assert (folder / 'picture.png').stat().st_size > 10_000


def test_longer_runs_have_a_table_of_their_own(arena, folder):
    for row in ('vicmae', 'mae'):
        path = folder / '32-tflops' / row / 'seed0.json'
        path.parent.mkdir(parents=True)
        run = run_of(arena, np.random.default_rng(8), 0, row=row, table='32-tflops')
        path.write_text(json.dumps(run.content | dict(budget=dict(flops=32e12))))
    page = arena.page.write_page(arena.results.Results(folder))
    _, longer = page.split('## Equal FLOPs: 32 TFLOPs')
    longer, _ = longer.split('## Ablations')
    assert '`python projects/arena/run.py --budget 3.2e+13`' in longer
    assert 'VideoMAE' not in longer
    assert longer.count('arena/results/32-tflops/') == 2


def test_page_has_the_other_protocols_of_the_rows_that_have_them(arena, folder):
    tuned = run_of(arena, np.random.default_rng(6), 0, row='mae', table='finetune')
    for marks in tuned.content['right'].values():
        marks['finetune'] = marks.pop('logistic')[::3]
    path = folder / 'finetune/mae/seed0.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(tuned.content))
    results = arena.results.Results(folder)
    page = arena.page.write_page(results)
    attentive = np.mean([r.figure('images', 'attentive') for r in results.of('flops', 'mae')])
    (line,) = [
        line
        for line in page.splitlines()
        if line.startswith('| MAE, both |') and line.count('|') == 11
    ]
    cells = line.split(' | ')
    assert cells[4] == f'{attentive:.1f}'
    assert cells[7] == f'{tuned.figure("images", "finetune"):.1f}'


def test_page_without_results_can_be_written(arena, tmp_path):
    assert 'Not run yet.' in arena.page.write_page(arena.results.Results(tmp_path))


def test_broken_result_is_named(arena, folder):
    path = folder / 'flops/mae/seed1.json'
    path.write_text('{"row": ')
    with pytest.raises(SystemExit, match='seed1.json.*is no JSON'):
        arena.results.Results(folder).of('flops', 'mae')


@pytest.mark.parametrize(
    ('change', 'message'),
    [(dict(row='simclr'), "seed1.json' is of row 'simclr'"), (dict(right={}), 'has marks of {}')],
)
def test_result_of_another_row_or_on_other_samples_is_named(arena, folder, change, message):
    path = folder / 'flops/mae/seed1.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SystemExit, match=message):
        arena.results.Results(folder).of('flops', 'mae')


def test_check_fails_once_the_results_have_changed(arena, folder, monkeypatch):
    out = folder / 'page.md'

    def run_page(*options):
        monkeypatch.setattr(
            'sys.argv', ['page.py', '--results', str(folder), '--out', str(out), *options]
        )
        return arena.page.main()

    assert run_page('--check') == 1
    assert run_page() == 0
    assert run_page('--check') == 0
    assert out.with_suffix('.png').exists()
    (folder / 'flops/mae/seed2.json').unlink()
    assert run_page('--check') == 1


def test_best_learning_rate_at_the_end_of_the_search_has_a_star(arena, folder):
    rng = np.random.default_rng(6)
    for row, levels in (('mae', (0.3, 0.6, 0.4)), ('omnimae', (0.3, 0.4, 0.6))):
        for rate, level in zip((0.001, 0.002, 0.004), levels, strict=True):
            run = run_of(arena, rng, 100, accuracy=level, row=row, table='search')
            path = folder / 'search' / row / f'lr{rate}.json'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run.content | dict(lr=rate)))
    lines = arena.page.write_page(arena.results.Results(folder)).splitlines()
    inside, end = (
        next(line for line in reversed(lines) if line.startswith(f'| {title} |'))
        for title in ('MAE, both', 'OmniMAE')
    )
    assert inside.count('**') == end.count('**') == 2
    assert '\\*' not in inside
    assert end.endswith('**\\* |')


def test_published_page_is_that_of_the_results(arena):
    assert arena.page.PAGE.read_text(encoding='utf-8') == arena.page.write_page(
        arena.results.Results()
    )
