# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads images, videos and shards, independently of training."""
