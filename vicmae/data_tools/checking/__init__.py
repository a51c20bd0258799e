# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds bad files before training does."""
