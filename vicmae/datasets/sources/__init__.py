# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Sources of samples: folders, lists, shards."""
