# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The loader of all data sets: bad files, and workers that hang or die, cost a file and not the run."""
