# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds what is wrong with this machine, or with a step of a run."""
