# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The loader of all data sets: a bad file, or a worker that hangs or dies, costs a file and not the run."""
