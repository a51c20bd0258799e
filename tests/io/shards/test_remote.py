# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reading of files and parts from a real web server, another file system and commands."""

import multiprocessing
import os
import socket

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vicmae.errors import DataError, EnvironmentFault
from vicmae.io.shards import remote
from vicmae.io.shards.remote import fetch, is_url, look_up, read_part

from ..web_server import serve

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(remote, '_FIRST_PAUSE_SECONDS', 0.001)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'file.bin'
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def server(file):
    with serve(file.parent) as server:
        yield server


@pytest.fixture
def fetched(tmp_path):
    def fetched(url):
        fetch(url, str(tmp_path / 'fetched'))
        return (tmp_path / 'fetched').read_bytes()

    return fetched


@pytest.mark.parametrize('place', ['https://a/b.tar', 'pipe:cat b.tar', 'gs://a/b.tar', 's3+x://b'])
def test_urls_are_distinguished_from_paths(place):
    assert is_url(place)
    assert not is_url('/data/' + place.replace('://', ':/').replace('pipe:', 'pipe'))


def test_part_of_a_file_has_its_bytes(server):
    url = f'{server.url}/file.bin'
    assert read_part(url, 300, 20) == CONTENT[300:320]
    assert read_part(url, len(CONTENT) - 5, 20) == CONTENT[-5:]
    assert server.requests[0] == ('/file.bin', 'bytes=300-319')


def test_other_file_systems_are_read_by_the_same_calls(fetched):
    fsspec.filesystem('memory').pipe('/folder/file.bin', CONTENT)
    url = 'memory://folder/file.bin'
    assert read_part(url, 300, 20) == CONTENT[300:320]
    assert fetched(url) == CONTENT
    before = look_up(url)
    assert (before.size, before.gives_parts) == (len(CONTENT), True)
    fsspec.filesystem('memory').pipe('/folder/file.bin', CONTENT[::-1])
    assert look_up(url).version != before.version
    with pytest.raises(FileNotFoundError, match=r"'memory://nowhere': not found"):
        look_up('memory://nowhere')


class Closed(MemoryFileSystem):
    """A store without list permission, which doesn't report missing files."""

    protocol = 'closed'

    def info(self, path, **kwargs):
        raise PermissionError('Forbidden')


def test_file_forbidden_by_a_store_counts_as_missing():
    fsspec.register_implementation('closed', Closed, clobber=True)
    with pytest.raises(FileNotFoundError, match="'closed://a/b': Forbidden"):
        look_up('closed://a/b')


def test_missing_package_is_named():
    with pytest.raises(EnvironmentFault, match=r"'gs://a/b': Please install gcsfs .*`pip install`"):
        read_part('gs://a/b', 0, 1)


@pytest.mark.parametrize('gives_parts', [False, True])
def test_server_reports_version_and_range_requests(file, gives_parts):
    with serve(file.parent, gives_parts) as server:
        url = f'{server.url}/file.bin'
        seen = look_up(url)
        assert (seen.size, seen.gives_parts) == (len(CONTENT), gives_parts)
        assert look_up(url) == seen
        os.utime(file, (0, 0))
        assert look_up(url).version != seen.version
        server.etag = '"abc"'
        assert '"abc"' in look_up(url).version
        server.refuses_head = True
        assert look_up(url).size == len(CONTENT)


@pytest.mark.parametrize('status', [500, 503, 429])
def test_busy_server_is_retried(server, fetched, status):
    url = f'{server.url}/file.bin'
    server.failures += [status, status]
    assert fetched(url) == CONTENT
    server.failures += [status, status]
    assert read_part(url, 0, 5) == CONTENT[:5]
    assert len(server.requests) == 6
    server.failures += [status] * 4  # of `HEAD` and `GET`, each time
    assert look_up(url).size == len(CONTENT)


def test_interrupted_answer_is_retried(server, fetched):
    server.breaks_off = True
    assert fetched(f'{server.url}/file.bin') == CONTENT
    assert len(server.requests) == 2


def test_retries_of_a_server_end(server, fetched):
    server.failures += [503] * 6
    with pytest.raises(DataError, match=r"Can't read 'http.*file\.bin': .*503.*\(tries: 6\)"):
        fetched(f'{server.url}/file.bin')
    server.failures.append(401)
    with pytest.raises(DataError, match=r"Can't read 'http.*401.*\(tries: 1\)"):
        fetched(f'{server.url}/file.bin')


def test_missing_file_is_distinguished_from_a_busy_server(server, fetched):
    url = f'{server.url}/nowhere.bin'
    for action in (look_up, fetched, lambda url: read_part(url, 0, 5)):
        server.requests.clear()
        with pytest.raises(FileNotFoundError, match=r'nowhere\.bin'):
            action(url)
        assert len(server.requests) <= 2  # `HEAD` and `GET`


def test_unreachable_server_is_named(fetched):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/file.bin'
        for action in (fetched, look_up):
            with pytest.raises(DataError, match=rf"Can't read '{url}': .*onnect.*\(tries: 6\)"):
                action(url)


def test_forked_process_does_not_use_connections_of_its_parent(server):
    url = f'{server.url}/file.bin'
    context = multiprocessing.get_context('fork')

    def read(results):
        results.put([read_part(url, start, 9) for start in (0, 256)])

    for _ in range(2):
        assert read_part(url, 1, 9) == CONTENT[1:10]
        connections = len(server.connections)
        results = context.Queue()
        child = context.Process(target=read, args=(results,))
        child.start()
        assert results.get(timeout=60) == [CONTENT[:9]] * 2
        child.join(60)
        assert child.exitcode == 0
        assert len(server.connections) == connections + 1  # the child's own
    assert read_part(url, 1, 9) == CONTENT[1:10]
    assert len(server.connections) == connections + 1  # the parent's first is still good


def test_webdataset_reads_other_schemes(file, fetched):
    assert fetched(f'pipe:cat {file}') == CONTENT
    assert look_up(f'pipe:cat {file}') == (None, '', False)
    with pytest.raises(DataError, match=r"Can't read 'pipe:cat .*nowhere.*exit 1"):
        fetched(f'pipe:cat {file.parent}/nowhere 2>/dev/null')
    with pytest.raises(DataError, match=r"Can't read 'other://x/y': .*no gopen handler"):
        fetched('other://x/y')
