# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How fast a loader is, where its time goes, and what would help. Not imported by training."""
