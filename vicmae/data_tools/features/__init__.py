# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of many files, in a file; and the search in it."""
