# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo data of a config. The demo is found by its name: training imports neither it nor, for it, PyAV."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any


def demo_data_maker() -> Callable[..., Any]:
    """`make_demo_data`, whose arguments a config's `demo_data` are."""
    return resolve_name('vicmae.demo.data:make_demo_data')


def make_demo_data_of(cfg: Mapping[str, Any]) -> None:
    """Makes the demo data that a config asks for, where they are missing."""
    if cfg.get('demo_data'):
        demo_data_maker()(**cfg['demo_data'])
