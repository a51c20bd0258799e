# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *ROOT.glob('*.md'),
    *(ROOT / 'docs').rglob('*.md'),
    *(ROOT / 'configs').rglob('*.md'),
]


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r'\]\(([^)#\s]+)\)', page.read_text(encoding='utf-8'))
    relative = [link for link in links if '://' not in link]
    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_configs_and_tools_that_the_readme_names_exist():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    named = set(re.findall(r'\b(?:configs|tools)/[\w./-]+\.(?:py|sh)\b', text))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_nothing_in_the_readme_waits_to_be_filled_in():
    assert '@' not in (ROOT / 'README.md').read_text(encoding='utf-8').replace('@MODELS', '')
