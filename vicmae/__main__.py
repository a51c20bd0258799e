# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`python -m vicmae` is the command `vicmae`."""

from vicmae.cli.main import main

if __name__ == '__main__':
    main()
