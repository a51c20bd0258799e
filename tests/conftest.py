# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

import os
import shutil

import pytest


def pytest_runtest_setup(item):
    """Skip a test marked `needs(program, ...)` if none of the programs is there; in CI, fail it."""
    for marker in item.iter_markers('needs'):
        if not any(shutil.which(program) for program in marker.args):
            reason = f'needs one of these programs on the PATH: {", ".join(marker.args)}'
            if os.environ.get('VICMAE_CI'):
                pytest.fail(f'{reason}. CI installs them, see .ci/run.', pytrace=False)
            pytest.skip(reason)
