# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Items that raise, crash, hang and die, each in a real process."""

import ctypes
import faulthandler
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vicmae.errors import DataError
from vicmae.utils.isolated_pool import Outcome, restart_deadline, run_isolated

ROOT = Path(__file__).parents[2]


def act(item):
    """Does what the item says."""
    faulthandler.disable()  # pytest's would write of each crash
    what, *rest = item
    if what == 'raise':
        raise rest[0]
    if what == 'signal':
        os.kill(os.getpid(), rest[0])
    if what == 'abort':
        faulthandler.disable()  # pytest's prints all stacks
        os.abort()
    if what == 'exit':
        os._exit(3)
    if what == 'hang':
        ctypes.PyDLL(None).sleep(60)  # as a decoder in C that keeps the interpreter's lock
    if what == 'sleep':
        time.sleep(rest[0])
    if what == 'lambda':
        return lambda: None
    if what == 'start and hang':
        with open(rest[0], 'w') as log:
            subprocess.Popen(['sleep', '60'], stdout=log)
        time.sleep(60)
    return rest[-1] if rest else os.getpid()


def run(*items, num_workers=2, seconds=30.0, **kwargs):
    return list(run_isolated(act, items, num_workers=num_workers, seconds=seconds, **kwargs))


def errors(outcomes):
    return {outcome.item: outcome.error for outcome in outcomes if outcome.error}


def runs(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def wait_for(condition, seconds=10.0):
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not (came := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return came


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = set(multiprocessing.active_children())  # those of other tests
    yield
    assert not set(multiprocessing.active_children()) - before


@pytest.mark.parametrize('start_method', ['fork', 'spawn'])
def test_each_item_has_one_outcome_with_what_the_function_returned(start_method):
    outcomes = run_isolated(abs, range(-9, 0), num_workers=2, seconds=30, start_method=start_method)
    assert {o.item: o.value for o in outcomes} == {item: -item for item in range(-9, 0)}
    assert run() == []


def test_outcomes_come_when_they_are_ready_and_items_run_at_the_same_time():
    outcomes = run(('sleep', 0.5, 'long'), *(('sleep', 0.02, i) for i in range(4)))
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, 'long']


def test_exception_is_an_outcome_in_words():
    items = [
        ('raise', DataError('The file is bad.')),
        ('raise', KeyError('a')),
        ('raise', SystemExit(1)),
    ]
    outcomes = run(*items, num_workers=1)
    assert [o.error for o in outcomes] == ['The file is bad.', "KeyError: 'a'", 'SystemExit: 1']
    assert all(outcome.value is None for outcome in outcomes)


def test_value_that_cannot_be_pickled_is_an_error_of_its_item():
    outcomes = run(('lambda',), ('say', 1), num_workers=1)
    assert 'pickle' in outcomes[0].error.lower()
    assert outcomes[1] == Outcome(('say', 1), value=1)


def test_item_that_kills_its_process_costs_no_other():
    deaths = {
        ('abort',): 'killed its process (SIGABRT)',
        ('signal', signal.SIGSEGV): 'killed its process (SIGSEGV)',
        ('signal', signal.SIGKILL): 'killed its process (SIGKILL, perhaps for want of memory)',
        ('signal', 40): 'killed its process (signal 40)',
        ('exit',): 'ended its process with status 3',
    }
    good = [('say', i) for i in range(10)]
    outcomes = run(*itertools.chain.from_iterable(zip(deaths, good[:5], strict=True)), *good[5:])
    assert errors(outcomes) == deaths
    assert sorted(o.value for o in outcomes if not o.error) == list(range(10))


def test_item_that_hangs_in_c_is_ended_at_its_deadline():
    start = time.monotonic()
    outcomes = run(('hang',), ('say', 1), num_workers=1, seconds=0.3)
    assert 0.3 < time.monotonic() - start < 60  # a busy machine is slow to start a process
    assert outcomes == [
        Outcome(('hang',), error='took longer than 0.3 s'),
        Outcome(('say', 1), value=1),
    ]


def test_deadline_is_of_each_item_and_not_of_the_run():
    items = [('sleep', 0.1, i) for i in range(8)]
    assert not errors(run(*items, num_workers=1, seconds=0.5))


def get_on(steps):
    for _ in range(steps):
        time.sleep(0.2)
        restart_deadline()


def test_function_that_reports_progress_may_take_longer():
    restart_deadline()  # does nothing here, else it would end the tests
    (outcome,) = run_isolated(get_on, [4], num_workers=1, seconds=0.5)
    assert outcome.error is None


def test_slow_reader_of_the_outcomes_costs_no_item():
    outcomes = run_isolated(act, [('say', 1)] * 3, num_workers=1, seconds=0.2)
    assert [(time.sleep(0.3), o.error)[1] for o in outcomes] == [None] * 3


def test_child_processes_of_an_item_end_with_its_process(tmp_path):
    (outcome,) = run(('start and hang', str(tmp_path / 'started')), seconds=0.5)
    assert outcome.error == 'took longer than 0.5 s'
    assert wait_for(lambda: not any(holds(pid, tmp_path) for pid in os.listdir('/proc')))


def holds(pid, folder):
    """Whether a process has a file in this folder open."""
    try:
        return any(
            os.readlink(link).startswith(str(folder)) for link in Path(f'/proc/{pid}/fd').iterdir()
        )
    except OSError:
        return False


def test_items_are_consumed_as_processes_become_free():
    taken = itertools.count()
    outcomes = run_isolated(
        act, (('say', next(taken)) for _ in itertools.count()), num_workers=2, seconds=30
    )
    assert len(list(itertools.islice(outcomes, 20))) == 20
    assert next(taken) <= 20 + 2
    outcomes.close()


def test_abandoned_iterator_leaves_no_process():
    outcomes = run_isolated(act, iter(lambda: ('pid',), None), num_workers=2, seconds=30)
    pid = next(outcomes).value
    assert runs(pid)
    del outcomes
    assert not runs(pid)


def test_items_that_fail_to_come_end_the_pool():
    def items():
        yield ('say', 1)
        raise OSError('the list is gone')

    with pytest.raises(OSError, match='the list is gone'):
        list(run_isolated(act, items(), num_workers=1, seconds=30))


def not_to_be_found():
    """Such as a function that was defined in a session."""
    exec('def function(item): ...', namespace := {'__name__': 'nowhere'})
    sys.modules['nowhere'] = type(sys)('nowhere')
    sys.modules['nowhere'].function = namespace['function']
    return namespace['function']


def test_processes_that_cannot_start_are_an_error_and_not_outcomes(capfd):
    outcomes = run_isolated(
        not_to_be_found(), [1, 2], num_workers=1, seconds=30, start_method='spawn'
    )
    with pytest.raises(RuntimeError, match='ended with status 1 before it had started'):
        list(outcomes)
    assert "No module named 'nowhere'" in capfd.readouterr().err


def test_wrong_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match='`num_workers` must be at least 1, got 0'):
        run_isolated(act, [], num_workers=0, seconds=1)
    with pytest.raises(ValueError, match='`seconds` must be more than 0, got 0'):
        run_isolated(act, [], num_workers=1, seconds=0)


SCRIPT = """
import os, sys, time
from vicmae.utils.isolated_pool import run_isolated
def work(item):
    os.write(1, b'%d\\n' % os.getpid())
    time.sleep(1.5)
for outcome in run_isolated(work, range(99), num_workers=2, seconds=30):
    pass
"""


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(ending):
    command = [sys.executable, '-c', SCRIPT]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    workers = [int(process.stdout.readline()) for _ in range(2)]
    assert all(map(runs, workers))
    process.send_signal(ending)
    process.wait()
    process.stdout.close()
    # Where it could not kill them, they end when they are done with their item.
    assert wait_for(lambda: not any(map(runs, workers)), 0.5 if ending == signal.SIGINT else 10)


def count_up(item):
    """Yields numbers; at 'crash' and 'raise' it does so."""
    for value in item:
        if value == 'crash':
            os.kill(os.getpid(), signal.SIGKILL)
        if value == 'raise':
            raise DataError('no more')
        yield value


SENDER = """
import os, signal, sys, time
from vicmae.utils.isolated_pool import run_isolated

def send(item):
    while True:
        yield os.getpid(), bytes(10_000_000)

pids = set()
for outcome in run_isolated(send, range(2), num_workers=2, seconds=60):
    pids.add(outcome.value[0])
    if len(pids) == 2:
        time.sleep(0.5)  # both wait for their next value to be taken
        print(*pids, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_that_wait_to_send_a_value_end_with_the_one_that_started_them():
    command = [sys.executable, '-c', SENDER]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=60, check=False)
    workers = [int(pid) for pid in ended.stdout.split()]
    assert len(workers) == 2
    assert wait_for(lambda: not any(map(runs, workers)), 10)


def test_values_of_a_generator_come_one_by_one():
    outcomes = list(run_isolated(count_up, ['ab', ''], num_workers=1, seconds=30))
    assert [(o.item, o.value, o.is_last) for o in outcomes] == [
        ('ab', 'a', False),
        ('ab', 'b', False),
        ('ab', None, True),
        ('', None, True),
    ]


@pytest.mark.parametrize(
    ('end', 'text'), [('raise', 'no more'), ('crash', 'killed its process (SIGKILL')]
)
def test_values_before_the_end_of_a_generator_stay(end, text):
    first, last = run_isolated(count_up, [['a', end]], num_workers=1, seconds=30)
    assert (first.value, first.error, first.is_last) == ('a', None, False)
    assert last.is_last and text in last.error


def test_outcomes_come_in_order_on_demand():
    items = [('sleep', 0.3, 'slow'), *[('value', n) for n in range(8)]]
    outcomes = run(*items, in_order=True, num_workers=3)
    assert [outcome.item for outcome in outcomes] == items


def megabytes(item):
    for number in range(1000):
        yield number, bytes(2**20)
        Path(item).write_text(str(number))


def test_generator_waits_until_its_values_are_taken(tmp_path):
    outcomes = run_isolated(megabytes, [str(tmp_path / 'sent')], num_workers=1, seconds=0.5)
    assert next(outcomes).value[0] == 0
    time.sleep(1.0)  # longer than an item may take: waiting doesn't count
    assert int((tmp_path / 'sent').read_text()) <= 2
    assert next(outcomes).value[0] == 1
    outcomes.close()
