# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Configs that are read once, however many tests look at them."""

import copy
import functools

from vicmae.config.load import load_config

_read = functools.cache(load_config)


def load(path):
    """A config of its own for each caller."""
    return copy.deepcopy(_read(path))
