# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Opens one clip very often, and prints the memory and files that the process holds before and after."""

import gc
import json
import os
import sys
from pathlib import Path

from vicmae.io.video import open_video


def own_memory():
    """Returns the bytes that this process holds, without pages of files and shared memory."""
    resident, shared = map(int, Path('/proc/self/statm').read_text().split()[1:3])
    return (resident - shared) * os.sysconf('SC_PAGE_SIZE')


def open_files():
    """Returns how many files this process has open."""
    return len(os.listdir('/proc/self/fd'))


def main(path, reader):
    for times in (200, 3_000):
        for _ in range(times):
            with open_video(path, reader) as video:
                assert len(video.frames([2])) == 1
        gc.collect()
        print(json.dumps([own_memory(), open_files()]))


if __name__ == '__main__':
    main(*sys.argv[1:])
