# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Controls Chromium by its DevTools protocol, over the pipes of `--remote-debugging-pipe`."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
SWITCHES = (
    'headless no-sandbox disable-gpu disable-dev-shm-usage no-first-run disable-sync hide-scrollbars '
    'disable-background-networking disable-component-update remote-debugging-pipe'
)


class Browser:
    """One page of a browser without a window."""

    def __init__(self, profile: Path) -> None:
        program = next(filter(None, map(shutil.which, BROWSERS)))
        read, self._commands = os.pipe()
        answers, write = os.pipe()
        # Chromium reads commands from file 3 and writes answers to file 4.
        command = ['bash', '-c', f'exec "$@" 3<&{read} 4>&{write}', 'bash', program]
        command += [f'--{switch}' for switch in SWITCHES.split()] + [f'--user-data-dir={profile}']
        self._process = subprocess.Popen(
            command, pass_fds=(read, write), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self._answers = os.fdopen(answers, 'rb')
        self._buffer = b''
        self._number = 0
        self._session = ''
        self.errors: list[str] = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)[
            'sessionId'
        ]
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer; errors of the page are collected on the way."""
        self._number += 1
        message: dict[str, Any] = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._commands, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('method') == 'Runtime.exceptionThrown':
                self.errors.append(str(answer['params']['exceptionDetails']))
            if (
                answer.get('method') == 'Log.entryAdded'
                and answer['params']['entry']['level'] == 'error'
            ):
                self.errors.append(str(answer['params']['entry']))
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def _read(self) -> dict[str, Any]:
        while b'\0' not in self._buffer:
            data = os.read(self._answers.fileno(), 1 << 20)
            assert data, 'the browser has ended'
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(text)

    def run(self, script: str) -> Any:
        """The value of a script in the page."""
        done = self.call(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in done, done
        return done['result'].get('value')

    def wait_for(self, script: str, *, seconds: float = 20) -> Any:
        """The value of a script as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f'after {seconds} s not true: {script}'
            time.sleep(0.1)
        return value

    def open(self, url: str) -> None:
        """Opens a page and waits until it is drawn."""
        self.resize(1280)
        self.call('Page.navigate', url=url)
        self.wait_for(
            f'location.href.startsWith({json.dumps(url)}) && document.readyState === "complete"'
        )

    def resize(self, width: int, height: int = 900) -> None:
        """Makes the window as wide as a desktop's, or a phone's."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Writes a PNG of the window, or of the whole page."""
        data = self.call('Page.captureScreenshot', captureBeyondViewport=whole)['data']
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(20)
        self._answers.close()
        os.close(self._commands)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves a folder, and gives its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
