# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Imports the scripts of a project, which are beside each other and not in a package."""

import importlib
import sys

import pytest

from vicmae.config.paths import project_file

MODULES = ('rows', 'data', 'budget', 'scoring', 'run', 'results', 'bootstrap', 'page')


@pytest.fixture(scope='session')
def arena():
    """The modules of projects/arena."""
    folder = str(project_file('projects/arena'))
    sys.path.insert(0, folder)
    modules = {name: importlib.import_module(name) for name in MODULES}
    yield type('Arena', (), modules)
    sys.path.remove(folder)
    for name in MODULES:
        del sys.modules[name]
