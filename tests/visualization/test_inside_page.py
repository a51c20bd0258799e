# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The files and the page of `vicmae show`."""

import re

import numpy as np
import pytest

from vicmae.visualization import inside_page
from vicmae.visualization.inside_page import Inside, render_inside, strip, write_inside
from vicmae.visualization.panels import Panel
from vicmae.visualization.sheets import Tile

from ..chromium import probe

FACTS = {'command': 'vicmae show <a>.pth'}
NAMES = ['cat.jpg', 'a/walk.mp4']


def frames(count=1, seed=0, side=48):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def make_inside():
    rows = [
        [Tile('input', frames()), *[Tile(f'{n}', frames(seed=n)) for n in range(1, 6)]],
        [Tile('input', frames()), *[Tile(f'{n}', frames(seed=n)) for n in range(6, 11)]],
    ]
    films = [[Tile('input', frames(8)), Tile('one & two', frames(8, seed=1))]]
    panels = [
        Panel('pca', NAMES[0], rows[:1]),
        Panel('pca', NAMES[1], films),
        Panel('nearest', NAMES[0], rows),
        Panel('reconstruction', NAMES[1], films * 2),
    ]
    explained = {'m': np.array([0.5, 0.25, 0.125])}
    return Inside(NAMES, ['m'], panels, ['Of 9 inputs, 2 are shown.'], explained)


def test_each_panel_is_a_png_or_an_mp4_and_all_are_on_the_page(tmp_path):
    shares = []
    path = write_inside(make_inside(), tmp_path, FACTS, report=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        'index.html',
        'nearest-01-cat.png',
        'pca-01-cat.png',
        'pca-02-a-walk.mp4',
        'reconstruction-02-a-walk.mp4',
    ]
    page = path.read_text('utf-8')
    assert path == tmp_path / 'index.html'
    assert page == render_inside(make_inside(), FACTS)
    assert page.count('<figure') == 4
    assert page.count('<img') == 6 + 2 * 4 + 12 + 4 * 4
    assert 'one &amp; two' in page
    assert 'vicmae show &lt;a&gt;.pth' in page
    assert '50 %, 25 %, 12 %' in page
    assert 'Of 9 inputs, 2 are shown.' in page


def test_page_needs_no_other_file():
    page = render_inside(make_inside(), FACTS)
    assert all(uri.startswith('data:image/') for uri in re.findall(r'src="(.*?)"', page))
    assert "default-src 'none'" in page
    assert not re.search(r'https?://|url\(|<script', page)


def test_nothing_is_written_if_a_picture_cannot_be_drawn(tmp_path, monkeypatch):
    encode = inside_page.encode_sheet

    def fail_at_the_third(rows, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == 3:
            raise MemoryError
        return encode(rows)

    monkeypatch.setattr(inside_page, 'encode_sheet', fail_at_the_third)
    with pytest.raises(MemoryError):
        write_inside(make_inside(), tmp_path, FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('count', 'shown'), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (16, [0, 5, 10, 15])]
)
def test_strip_has_four_frames_from_the_first_to_the_last(count, shown):
    assert strip(np.arange(count)).tolist() == shown


PROBE = """
<script>
const page = document.documentElement;
const images = [...document.images];
document.title = [
  page.scrollWidth - page.clientWidth,
  images.filter((image) => image.complete && image.naturalWidth === 48).length,
  images.filter((image) => image.getBoundingClientRect().width < 60).length,
].join('|');
</script>
"""


@pytest.mark.slow
@pytest.mark.needs('chromium', 'chromium-browser', 'google-chrome')
@pytest.mark.parametrize('width', [500, 1400])
def test_browser_shows_all_pictures_without_errors(tmp_path, width):
    html = render_inside(make_inside(), FACTS)
    assert '<title>0|42|0</title>' in probe(html, PROBE, tmp_path, width)
