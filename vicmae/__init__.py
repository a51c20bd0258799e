# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Self-supervised pretraining of one vision transformer on images and videos together."""

from vicmae.environment import check_environment, runs_as_command
from vicmae.version import __version__

__all__ = ['__version__']

# The command checks by itself: `vicmae doctor` has to start in a faulty environment, which it is for.
if not runs_as_command():
    check_environment()
