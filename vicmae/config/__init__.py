# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Config files: find, load and check them, and what the command line changes in them."""
