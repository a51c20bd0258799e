# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The built site in a browser. `make setup` installs what builds it, .ci/run the browser."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browser import BROWSERS, Browser, serve

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs(*BROWSERS),
    pytest.mark.skipif(find_spec('zensical') is None, reason='needs requirements/docs.txt'),
]
WORDS = [
    'NaN',
    'EMA',
    'resume',
    'preemption',
    'shard',
    'out of memory',
    'image size',
    'linear probe',
]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site's address, and its pages."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'docs.generator'],
        cwd=ROOT, text=True, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    folder = ROOT / 'site'
    pages = [path.relative_to(folder).as_posix() for path in folder.rglob('*.html')]
    with serve(folder) as address:
        yield address, sorted(pages)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp('profile'))
    yield browser
    browser.close()


# The search lives in a shadow tree.
TREE = "[...document.querySelectorAll('*')].find(e => e.shadowRoot)?.shadowRoot"
RESULTS = f"""
[...({TREE}?.querySelectorAll('[role=option]') ?? [])].map(e => [e.getAttribute('href'), e.innerText])
"""


def search(browser, address, words, *, seconds=20):
    """Pages and texts of what the site's search finds, best first."""
    browser.open(f'{address}/')
    # Its script adds it after the page has loaded.
    browser.wait_for(f'Boolean({TREE})')
    browser.run("document.querySelector('.md-search__button').click()")
    browser.wait_for(f"{TREE}.activeElement?.matches('input')")
    browser.call('Input.insertText', text=words)
    browser.wait_for(f'{RESULTS}.length', seconds=seconds)
    found = browser.run(RESULTS)
    return [(href.removeprefix(f'{address}/').split('?')[0], text.lower()) for href, text in found]


@pytest.mark.parametrize('words', WORDS)
def test_search_finds_a_page_for_what_users_look_for(browser, site, words):
    address, _ = site
    found = search(browser, address, words)
    texts = [page for page, text in found[:5] if words.lower() in text]
    assert [page for page in texts if not page.startswith('reference/')], found[:5]


def test_search_finds_nothing_for_a_word_that_no_page_has(browser, site):
    with pytest.raises(AssertionError, match='not true'):
        search(browser, site[0], 'zyxwvu', seconds=3)


def test_pages_fit_a_desktop_and_a_phone_without_errors(browser, site):
    address, pages = site
    assert len(pages) > 20
    for page in [page for page in pages if not page.startswith('sources/')]:
        browser.errors.clear()
        browser.open(f'{address}/{page}')
        assert browser.run("document.querySelector('h1').innerText.length") > 2, page
        for width in (1280, 400):
            browser.resize(width)
            assert browser.run('document.documentElement.scrollWidth') <= width, (page, width)
        assert browser.errors == [], page
