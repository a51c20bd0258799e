# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs tools in forks of one process that has imported everything: a start takes no six seconds.

Each line of stdin is a job: argv, cwd, env, stdout, stderr (files). Each line of stdout is its exit status.
"""

import json
import os
import runpy
import sys
import traceback

import vicmae.apis.options  # noqa: F401  # what tools import when they begin
from vicmae.utils.config import registered_names


def run(argv, cwd, env, stdout, stderr):
    """Becomes `python argv`, and ends this process."""
    os.chdir(cwd)
    os.environ.update(env)
    for path, descriptor in [(stdout, 1), (stderr, 2)]:
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    sys.argv[:] = argv
    status = 0
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def main():
    registered_names()  # imports what registries import when they are first asked
    print('ready', flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == '__main__':
    main()
