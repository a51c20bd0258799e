# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From bytes to pixels: images, videos, shards. Nothing here knows of training."""
