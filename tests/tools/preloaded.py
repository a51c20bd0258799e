# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs tools in forks of one process that has imported everything: a start takes no six seconds.

Each line of stdin is a job: argv, cwd, env, stdout, stderr (files), and kill_after, if not None the seconds after
which it gets SIGKILL. Each line of stdout is its exit status. An empty line ends the process.
"""

import json
import os
import runpy
import signal
import sys
import time
import traceback

from yapf.yapflib import yapf_api

import vicmae.config.options  # noqa: F401  # what tools import when they begin
from vicmae.config.check import registered_names


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


def wait(pid, kill_after):
    """Waits for the end of a process, or brings it about."""
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while deadline is not None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    yapf_api.FormatCode = lambda text, **_: (text, True)  # as in tests/conftest.py
    registered_names()  # imports what registries import when they are first asked
    print('ready', flush=True)
    for line in iter(sys.stdin.readline, '\n'):
        if not line:
            return
        job = json.loads(line)
        kill_after = job.pop('kill_after')
        pid = os.fork()
        if pid == 0:
            run(**job)
        print(wait(pid, kill_after), flush=True)


if __name__ == '__main__':
    main()
