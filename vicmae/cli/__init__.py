# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The commands of `vicmae`, one file each."""
