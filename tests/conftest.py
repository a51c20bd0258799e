# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixtures and hooks of all tests."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # toys are faster so, and processes share the cores

import functools
import random
import shutil
import signal

import numpy as np
import pytest
from yapf.yapflib import yapf_api

from vicmae.demo.data import make_demo_data


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory):
    """Makes the debug data set where the debug config expects it, below `demo_data.parents[1]`."""
    return make_demo_data(tmp_path_factory.mktemp('place') / 'data/demo-debug', preset='debug')


def pytest_configure():
    """Disables the formatting of configs: a Runner formats its config five times, slower than toys are trained."""
    yapf_api.FormatCode = functools.wraps(yapf_api.FormatCode)(lambda text, **_: (text, True))
    _let_ctrl_c_through()


def _let_ctrl_c_through():
    """Lets Ctrl-C reach processes of tests: `make test &` ignores it, and child processes inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Files whose slow tests take minutes. They are started first, since one that starts last would leave a core idle.
_LONG = (
    'tools/test_survival.py',
    'tools/test_shell.py',
    'demo/test_run.py',
    'docs/test_site.py',
    'docs/test_pages.py',
    'engine/test_compile.py',
    'test_packaging.py',
    'datasets/loader/test_steady.py',
    'io/video/test_processes.py',
    'testing/test_losses.py',
    'demo/test_data.py',
    'testing/test_gloo.py',
)


def pytest_collection_modifyitems(items):
    """Sorts the longest files first. `--no-loadscope-reorder` keeps the order."""

    def place(item):
        path = item.path.as_posix()
        return next((i for i, name in enumerate(_LONG) if path.endswith(name)), len(_LONG))

    items.sort(key=place)


def pytest_runtest_setup(item):
    """Skips a test marked `needs(program, ...)` if none of the programs is installed. In CI, fails it."""
    for marker in item.iter_markers('needs'):
        if not any(shutil.which(program) for program in marker.args):
            reason = f'needs one of these programs on the PATH: {", ".join(marker.args)}'
            if os.environ.get('VICMAE_CI'):
                pytest.fail(f'{reason}. CI installs them, see .ci/run.', pytrace=False)
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _same_start_for_every_test():
    """Seeds all random generators, and restores MMEngine's globals after a test."""
    import torch
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    # A Runner makes one of each, and the newest is what all code gets from then on.
    managers = (DefaultScope, MessageHub, MMLogger, Visualizer)
    before = [dict(manager._instance_dict) for manager in managers]
    yield
    for manager, instances in zip(managers, before, strict=True):
        manager._instance_dict.clear()
        manager._instance_dict.update(instances)


@pytest.fixture(scope='session')
def gloo_pool():
    """Starts real processes for distributed tests, when the first test needs them."""
    from vicmae.testing import GlooPool

    with GlooPool(4) as pool:
        yield pool


@pytest.fixture
def log(monkeypatch):
    """Collects the logged messages of any logger."""
    from mmengine.logging import MMLogger

    messages = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lambda record: messages.append(record.getMessage()))
    return messages
