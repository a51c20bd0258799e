# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs functions and tests in a separate process, so that their changes of the process stay there."""

import functools
import os
import pickle
import resource
import signal
import traceback

import torch

TESTS = os.getpid()
SECONDS = 120


def in_child(function, *args, **kwargs):
    """Calls a function in a fork of this process and returns its result. If it fails, raises an AssertionError."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _answer(write, function, args, kwargs)
    os.close(write)
    with open(read, 'rb') as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert answer, f'the child of {function.__name__} ended with wait status {status}'
    succeeded, result = pickle.loads(answer)
    if not succeeded:
        raise AssertionError(result)
    return result


def alone(test):
    """Runs a test in a separate process, for tests that change the state of the process, such as its limits."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        in_child(test, *args, **kwargs)

    return run


def limit_files(num_bytes=None):
    """Limits the size of files, so that writing fails as on a full disk. Without a size, removes the limit."""
    if os.getpid() == TESTS:
        raise RuntimeError('A log that pytest writes is a file, too: limit files in a child.')
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if num_bytes is None else num_bytes, hard))


def _answer(pipe, function, args, kwargs):
    """Sends from the child whether it returned, and its result or traceback. Ends without pytest's clean-up."""
    signal.alarm(SECONDS)
    torch.set_num_threads(1)  # other threads of this process are not in its fork
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        answer = True, function(*args, **kwargs)
    except BaseException:
        answer = False, traceback.format_exc()
    try:
        with open(pipe, 'wb') as file:
            pickle.dump(answer, file)
    finally:
        os._exit(0)
