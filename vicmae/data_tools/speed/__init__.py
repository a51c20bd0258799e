# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Measures how fast data are loaded, and advises. Not imported by training."""
