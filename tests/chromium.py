# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Shows a page in Chromium without a window, and runs a script of a test in it."""

import shutil
import subprocess
from pathlib import Path

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def probe(html: str, script: str, folder: Path, width: int) -> str:
    """Shows a page at a width, with a script at its end, although pages of vicmae allow none.

    Fails if the page logs an error. Returns the document after the script has run.
    """
    html = html.replace('</body>', f'{script}</body>')
    html = html.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    page = folder / 'probed.html'
    page.write_text(html, 'utf-8')
    command = [
        next(filter(None, map(shutil.which, BROWSERS))),
        *('--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'),
        *('--no-first-run', '--disable-background-networking', '--enable-logging=stderr'),
        f'--user-data-dir={folder / "profile"}',
        f'--window-size={width},900',
        '--dump-dom',
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if ':CONSOLE' in line] == []
    return done.stdout
