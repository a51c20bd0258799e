# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo: its data, its run and its report. Training imports none of this."""
