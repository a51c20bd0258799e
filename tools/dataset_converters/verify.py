#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks images and videos by the rules of training: the same as `vicmae verify`."""

import sys

try:
    from vicmae.cli.main import run_command
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')

if __name__ == '__main__':
    run_command('verify')
