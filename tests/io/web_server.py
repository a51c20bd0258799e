# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A web server for tests, with or without range requests."""

import re
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and records each request as (path, range or 'HEAD')."""

    protocol_version = 'HTTP/1.1'  # connections stay open, as fsspec likes them

    def do_GET(self):
        server = self.server
        wanted = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        server.requests.append((self.path, wanted and wanted[0]))
        server.connections.add(self.client_address)
        if server.failures:
            self.send_error(server.failures.pop(0))
        elif server.breaks_off:
            self.break_off()
        elif wanted and server.gives_parts:
            self.give_part(int(wanted[1]), int(wanted[2]) + 1)
        else:
            super().do_GET()

    def do_HEAD(self):
        self.server.requests.append((self.path, 'HEAD'))
        if self.server.refuses_head:  # as those of signed URLs
            self.send_error(403)
        elif self.server.failures:
            self.send_error(self.server.failures.pop(0))
        else:
            super().do_HEAD()

    def break_off(self):
        """Sends less than announced."""
        self.server.breaks_off = False
        self.send_response(200)
        self.send_header('Content-Length', '100000')
        self.end_headers()
        self.wfile.write(b'x' * 50_000)
        self.close_connection = True

    def give_part(self, start, end):
        try:
            with open(self.translate_path(self.path), 'rb') as file:
                content = file.read()
        except OSError:
            self.send_error(404)
            return
        part = content[start:end]
        self.send_response(206)
        self.send_header('Content-Range', f'bytes {start}-{start + len(part) - 1}/{len(content)}')
        self.send_header('Content-Length', str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def end_headers(self):
        if self.server.etag:
            self.send_header('ETag', self.server.etag)
        super().end_headers()

    def log_message(self, *args):
        """Says nothing."""


@contextmanager
def serve(folder, gives_parts=True):
    """Serves a folder.

    Yields the server: `url`, `requests` so far, `failures` (statuses that it answers with first), `breaks_off`
    (whether the next answer is cut off), `etag` (of all files, if any), `refuses_head`, `connections` so far.
    """
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(folder))) as server:
        server.url = f'http://127.0.0.1:{server.server_port}'
        server.gives_parts = gives_parts
        server.requests, server.failures, server.breaks_off = [], [], False
        server.connections, server.refuses_head = set(), False
        server.etag = None
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
