# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Makes the pages of the site that are generated from code, and builds it: `make docs`."""
