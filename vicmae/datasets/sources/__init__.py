# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where samples come from: folders, lists, shards."""
