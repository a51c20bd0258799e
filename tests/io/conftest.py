# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Builds data sets and transforms as a Runner does."""

import pytest
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('vicmae')
