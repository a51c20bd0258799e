# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads tar shards by an index."""
