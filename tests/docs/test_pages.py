# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""README and docs: their links, what they name, and the commands that are marked runnable."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import vicmae

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob('*.md'),
    *(ROOT / 'docs').rglob('*.md'),
    *(ROOT / 'configs').rglob('*.md'),
    *(ROOT / 'projects').glob('*/README.md'),
]
# Pages that `make docs` writes; it checks links to them.
GENERATED = ('docs/reference/options/', 'docs/reference/api/', 'docs/reference/commands.md')
RUNNABLE = re.compile(r'^<!-- runnable -->\n```bash\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def name_of(page):
    return str(page.relative_to(ROOT))


def runnable_blocks(page):
    """The blocks of commands on a page that can be run as they stand, in their order."""
    text = page.read_text(encoding='utf-8')
    blocks = RUNNABLE.findall(text)
    assert len(blocks) == len(re.findall(r'^<!-- runnable', text, re.MULTILINE)), (
        f'{name_of(page)}: a mark without ```bash below it'
    )
    return blocks


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r'\]\(([^)#\s]+)\)', page.read_text(encoding='utf-8'))
    targets = [page.parent / link for link in links if '://' not in link]
    lost = [path for path in targets if not path.exists()]
    names = [os.path.relpath(path, ROOT) for path in lost]
    assert [name for name in names if not name.startswith(GENERATED)] == []


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_configs_and_tools_that_a_page_names_exist(page):
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(r'(?<![\w/.:])(?:configs|tools)/[\w./-]+\.(?:py|sh)\b', text))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_nothing_in_the_readme_waits_to_be_filled_in():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert '@' not in text.replace('@MODELS', '')


def test_blocks_of_commands_are_found_by_their_mark(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(
        '<!-- runnable -->\n```bash\na\nb\n```\n```bash\nno\n```\n<!-- runnable -->\n```bash\nc\n```\n'
    )
    assert runnable_blocks(page) == ['a\nb\n', 'c\n']


def unexplained_keys(work_dirs):
    """The keys that runs have logged and that the page of log keys lacks."""
    page = (ROOT / 'docs/reference/log_keys.md').read_text(encoding='utf-8')
    keys = {
        key
        for path in work_dirs.rglob('scalars.json')
        for line in path.read_text().splitlines()
        for key in json.loads(line)
    }
    # Names of probes and sources differ, and so do the numbers of top-k and kNN.
    plain = {re.sub(r'^(images|videos|clips)/', 'PROBE/', key) for key in keys}
    return {key for key in plain if f'`{re.sub("top[0-9]+$", "top1", key)}`' not in page}


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout without runs, data and builds."""
    names = subprocess.check_output(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, text=True
    )
    for name in filter(None, names.split('\0')):
        if (ROOT / name).is_file():
            (tmp_path / 'vicmae' / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / 'vicmae' / name)
    # What an editable install adds: see setup.py.
    mim = tmp_path / 'vicmae/vicmae/.mim'
    mim.mkdir()
    for name in ('configs', 'tools', 'model-index.yml'):
        (mim / name).symlink_to(Path('..', '..', name))
    return tmp_path / 'vicmae'


@pytest.mark.slow
@pytest.mark.parametrize('page', [page for page in PAGES if runnable_blocks(page)], ids=name_of)
def test_commands_of_a_page_run_as_they_stand(page, checkout, tmp_path):
    # As in an activated environment where this checkout is installed.
    programs = tmp_path / 'bin'
    programs.mkdir()
    for name, arguments in [('vicmae', '-m vicmae'), ('python', '')]:
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': str(checkout),
    }
    script = ''.join(
        f'echo "--- block {i}"\n{block}' for i, block in enumerate(runnable_blocks(page), 1)
    )
    done = subprocess.run(
        # It ends what the commands have started, too.
        ['timeout', '600', 'bash', '-euxo', 'pipefail', '-c', script],
        cwd=checkout, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert unexplained_keys(checkout / 'work_dirs') == set()


def test_citation_has_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['version'] == vicmae.__version__
    assert {'title', 'authors', 'year'} <= citation['preferred-citation'].keys()
