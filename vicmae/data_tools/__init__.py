# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Tools for data sets: pack, check, measure and look at them. Training imports none of this."""
