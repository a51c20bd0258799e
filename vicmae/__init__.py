# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Self-supervised pretraining of one vision transformer on images and videos together."""

from importlib import import_module
from typing import Any

from vicmae.environment import check_environment, runs_as_command
from vicmae.version import __version__

__all__ = ['FeatureExtractor', '__version__']

# The command checks by itself: `vicmae doctor` has to start in a faulty environment, which it is for.
if not runs_as_command():
    check_environment()


def __getattr__(name: str) -> Any:
    """Imports `FeatureExtractor` when it is first used: `import vicmae` imports nothing heavy."""
    if name == 'FeatureExtractor':
        return import_module('vicmae.apis').FeatureExtractor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
