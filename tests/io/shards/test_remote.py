# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Parts and whole files from a real web server, and through commands."""

import io
import os
import socket

import pytest

from vicmae.errors import DataError
from vicmae.io.shards import remote
from vicmae.io.shards.remote import Part, fetch, is_url, read_part, version_of

from ..web_server import serve

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(remote, '_FIRST_PAUSE_SECONDS', 0.001)


@pytest.fixture
def server(tmp_path):
    (tmp_path / 'file.bin').write_bytes(CONTENT)
    with serve(tmp_path) as server:
        yield server


def fetched(url):
    file = io.BytesIO()
    fetch(url, file)
    return file.getvalue()


@pytest.mark.parametrize('place', ['https://a/b.tar', 'pipe:cat b.tar', 'gs://a/b.tar', 's3+x://b'])
def test_urls_are_told_from_paths(place):
    assert is_url(place)
    assert not is_url('/data/' + place.replace('://', ':/').replace('pipe:', 'pipe'))


def test_part_is_what_the_file_has_there(server):
    url = f'{server.url}/file.bin'
    assert read_part(url, 300, 20) == Part(CONTENT[300:320], len(CONTENT))
    assert read_part(url, len(CONTENT) - 5, 20) == Part(CONTENT[-5:], len(CONTENT))
    assert server.requests[0] == ('/file.bin', 'bytes=300-319')


def test_server_without_parts_is_noticed(tmp_path):
    (tmp_path / 'file.bin').write_bytes(CONTENT)
    with serve(tmp_path, gives_parts=False) as server:
        assert read_part(f'{server.url}/file.bin', 300, 20) is None


@pytest.mark.parametrize('gives_parts', [False, True])
def test_version_has_what_the_server_says(tmp_path, gives_parts):
    (tmp_path / 'file.bin').write_bytes(CONTENT)
    os.utime(tmp_path / 'file.bin', (0, 0))
    with serve(tmp_path, gives_parts=gives_parts) as server:
        server.etag = '"abc"'
        modified = None if gives_parts else 'Thu, 01 Jan 1970 00:00:00 GMT'
        version = version_of(f'{server.url}/file.bin')
    assert version == (str(len(CONTENT)), '"abc"', modified)


def test_whole_file_is_fetched(server):
    assert fetched(f'{server.url}/file.bin') == CONTENT


@pytest.mark.parametrize('status', [500, 503, 429])
def test_busy_server_is_asked_again(server, status):
    server.failures += [status, status]
    assert fetched(f'{server.url}/file.bin') == CONTENT
    server.failures += [status, status]
    assert read_part(f'{server.url}/file.bin', 0, 5).content == CONTENT[:5]
    assert len(server.requests) == 6


def test_answer_that_breaks_off_is_asked_for_again(server):
    server.breaks_off = True
    assert fetched(f'{server.url}/file.bin') == CONTENT
    assert len(server.requests) == 2


def test_server_that_stays_busy_is_given_up(server):
    server.failures += [503] * 6
    with pytest.raises(DataError, match=r"Can't read 'http.*file\.bin': .*503.*\(tries: 6\)"):
        fetched(f'{server.url}/file.bin')


def test_refusal_is_final(server):
    server.failures.append(401)
    with pytest.raises(DataError, match=r"Can't read 'http.*401.*\(tries: 1\)"):
        fetched(f'{server.url}/file.bin')


def test_missing_file_is_told_from_a_busy_server(server):
    with pytest.raises(FileNotFoundError, match='404'):
        fetched(f'{server.url}/nowhere.bin')
    with pytest.raises(FileNotFoundError, match='404'):
        read_part(f'{server.url}/nowhere.bin', 0, 5)
    assert len(server.requests) == 2


def test_server_that_is_not_there_is_named():
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/file.bin'
        with pytest.raises(DataError, match=rf"Can't read '{url}': .*refused"):
            fetched(url)


def test_commands_are_run_by_webdataset(tmp_path):
    (tmp_path / 'file.bin').write_bytes(CONTENT)
    assert fetched(f'pipe:cat {tmp_path}/file.bin') == CONTENT
    with pytest.raises(DataError, match=r"Can't read 'pipe:cat .*nowhere.*exit 1"):
        fetched(f'pipe:cat {tmp_path}/nowhere 2>/dev/null')
    with pytest.raises(DataError, match=r"Can't read 'other://x/y': .*no gopen handler"):
        fetched('other://x/y')
