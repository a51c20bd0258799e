# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Makes the demo data of a config. The demo is imported by name: training needs neither it nor PyAV."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

from vicmae.errors import ConfigError


def demo_data_maker() -> Callable[..., Any]:
    """Returns `make_demo_data`, which takes a config's `demo_data` as arguments."""
    try:
        return resolve_name('vicmae.demo.data:make_demo_data')
    except ModuleNotFoundError as error:
        text = f'This config uses demo data, and {error}. Set your own data and `demo_data=None`.'
        raise ConfigError(text) from error


def make_demo_data_of(cfg: Mapping[str, Any]) -> None:
    """Makes the demo data of a config, unless they exist."""
    if cfg.get('demo_data'):
        demo_data_maker()(**cfg['demo_data'])
