# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packs files into shards."""
