# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Tar shards with an index beside them."""
