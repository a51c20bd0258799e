# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads data sets. A bad file, or a worker that hangs or dies, costs one sample and doesn't end the run."""
