# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Functions in a child process: their changes stay there, and results and failures are returned."""

import os
import resource

import pytest

from .child import alone, in_child, limit_files


def write_beyond_the_limit(path):
    limit_files(10)
    path.write_bytes(bytes(5))
    try:
        path.write_bytes(bytes(20))
    except OSError as error:
        return os.getpid(), error.strerror
    return None


def test_limit_of_a_child_is_not_one_of_the_tests(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    child, error = in_child(write_beyond_the_limit, tmp_path / 'file')
    assert (child != os.getpid(), error) == (True, 'File too large')
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    (tmp_path / 'file').write_bytes(bytes(20))


def test_limit_ends_where_none_is_given(tmp_path):
    @alone
    def write():
        limit_files(10)
        limit_files()
        (tmp_path / 'file').write_bytes(bytes(20))

    write()
    assert (tmp_path / 'file').stat().st_size == 20


def test_process_of_the_tests_takes_no_limit():
    with pytest.raises(RuntimeError, match='limit files in a child'):
        limit_files(1000)


def test_failure_of_a_child_is_one_of_the_test():
    with pytest.raises(AssertionError, match='ZeroDivisionError'):
        in_child(divmod, 1, 0)
    with pytest.raises(AssertionError, match='ended with wait status 768'):
        in_child(os._exit, 3)
