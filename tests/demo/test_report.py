# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import base64
import io
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vicmae.demo.report import (
    Neighbour,
    NeighbourRow,
    NextStep,
    ReconstructionRow,
    Report,
    format_duration,
    render_report,
    write_report,
)
from vicmae.visualization import Curve, CurvePanel, ProbeResult

CHROMIUM = (
    shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
)
VOID_TAGS = {'meta', 'link', 'img', 'br'}


class Page(HTMLParser):
    """The elements of a page, its text, and a check that its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ''
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or '' for name, value in attrs}))
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or '' for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ('style', 'script'):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def picture(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decode(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(',')[2]))))


def full_report(label: str = 'red disc') -> Report:
    neighbours = [
        Neighbour(picture(i), label if i < 3 else 'other', 0.9 - i / 10) for i in range(4)
    ]
    return Report(
        title='Demo',
        seconds=143,
        num_images=2400,
        num_videos=480,
        probes=[
            ProbeResult('videos', 66.0, 38.5, 12.5, 480, 160, 8),
            ProbeResult('images', 74.5, 41.25, 10.0, 2400, 600, 10),
        ],
        panels=[
            CurvePanel('Loss', [Curve('images', range(300), np.linspace(2, 1, 300))]),
            CurvePanel('kNN', [Curve('images', [0, 1, 2], [40.0, float('nan'), 74.5])], unit='%'),
            CurvePanel('Nothing', []),
        ],
        reconstructions=[
            ReconstructionRow(kind, label, 'val/a.jpg', picture(10), picture(11), picture(12))
            for kind in ('images', 'videos')
        ],
        neighbours=[NeighbourRow('images', picture(20), label, neighbours, neighbours[::-1][:2])],
        facts={'command': 'python train.py', 'date': '2025-01-01'},
        next_steps=[NextStep('Use your own data.', 'python train.py --data <folder> && echo done')],
    )


def test_header_says_what_happened_in_two_sentences():
    text = Page(render_report(full_report())).text
    assert (
        'After 2 minutes 23 seconds of pretraining on 2,400 images and 480 video clips without labels, '
        'a kNN classifier on the frozen features is right for 74.5% of the test images '
        '(random weights: 41.2%, chance: 10.0%) and 66.0% of the test videos '
        '(random weights: 38.5%, chance: 12.5%). That is 33.2 points more than random weights give on '
        'images, and 27.5 points more on videos.'
    ) in text


def test_header_admits_that_pretraining_did_not_help():
    probes = [ProbeResult('images', 30.0, 34.5, 10.0, 100, 100, 10)]
    text = Page(render_report(replace(full_report(), probes=probes, num_videos=0))).text
    assert 'on 2,400 images without labels' in text
    assert 'That is 4.5 points less than random weights give on images.' in text
    assert '\u22124.5 points over random weights' in text


def test_page_without_anything_to_show_says_so():
    page = Page(render_report(Report('Empty', seconds=1, num_images=0, num_videos=1)))
    for message in (
        'After 1 second of pretraining on 1 video clip without labels, the backbone has not been evaluated.',
        'No accuracy was measured.',
        'No curves were recorded.',
        'No reconstructions were made.',
        'No neighbours were looked up.',
    ):
        assert message in page.text
    assert page.all('img') == []


def test_page_loads_nothing_from_elsewhere():
    html = render_report(full_report())
    page = Page(html)
    loaded = [
        e[name] for _, e in page.elements for name in ('src', 'href', 'srcset', 'data') if name in e
    ]
    outside = [uri for uri in loaded if not uri.startswith('#')]  # a part of the page itself
    assert len(outside) == 1 + len(page.all('img'))  # and the empty icon
    assert all(uri.startswith('data:') for uri in outside)
    assert not re.search(r'@import|url\((?!#)|https?:', html)
    policies = [
        e['content'] for e in page.all('meta') if e.get('http-equiv') == 'Content-Security-Policy'
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


@pytest.mark.parametrize(
    'label', ['<script>alert(1)</script>', 'R&D "quoted" \'single\'', '\u732b \u00fc']
)
def test_class_names_are_shown_as_they_are(label):
    report = full_report(label)
    page = Page(render_report(report))
    assert page.all('script') == []
    # Two reconstructions, the query, and its neighbours: three by one backbone, one by the other.
    assert page.text.count(label) == 2 + 1 + 3 + 1
    assert f'query: {label}' in [image['alt'] for image in page.all('img')]


def test_all_other_text_is_escaped_too():
    report = replace(
        full_report(),
        title='<b>1</b>',
        facts={'<b>2</b>': '<b>3</b>'},
        next_steps=[NextStep('<b>4</b>', '<b>5</b>')],
        panels=[CurvePanel('<b>6</b>', [Curve('<b>7</b>', [1], [1.0])])],
        reconstructions=[
            ReconstructionRow('images', '', '<b>8</b>', picture(1), picture(2), picture(3))
        ],
    )
    text = Page(render_report(report)).text
    assert all(f'<b>{number}</b>' in text for number in range(1, 9))


def test_pictures_decode_back_to_the_same_pixels():
    images = Page(render_report(full_report())).all('img')
    by_alt = {image['alt']: decode(image['src']) for image in images}
    for alt, seed in (('input', 10), ('masked', 11), ('output', 12)):
        np.testing.assert_array_equal(by_alt[f'red disc, {alt}'], picture(seed))
    np.testing.assert_array_equal(by_alt['query: red disc'], picture(20))


def test_large_pictures_are_stored_as_jpeg_of_the_same_size():
    smooth = np.broadcast_to(
        np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], (300, 400, 3)
    )
    report = replace(
        full_report(),
        reconstructions=[ReconstructionRow('images', 'a', 'b', smooth, smooth, smooth)],
        neighbours=[],
    )
    image = Page(render_report(report)).all('img')[0]
    assert image['src'].startswith('data:image/jpeg;')
    assert (image['width'], image['height']) == ('128', '96')
    assert np.abs(decode(image['src']).astype(int) - smooth).mean() < 2


def test_frames_of_neighbours_follow_their_classes_and_not_by_colour_alone():
    page = render_report(full_report())
    verdicts = re.findall(
        r'<li class="(right|wrong)"><img [^>]*><b>(.)</b> ([^<]*)<i>([^<]*)</i>', page
    )
    right, wrong = ('right', '\u2713', 'red disc'), ('wrong', '\u2717', 'other')
    assert [found[:3] for found in verdicts] == [right, right, right, wrong, wrong, right]
    assert [found[3] for found in verdicts] == ['0.90', '0.80', '0.70', '0.60', '0.60', '0.70']
    assert 'With the pretrained backbone 3 of 4 agree, with random weights 1 of 2.' in page


def test_every_picture_and_chart_has_a_text_in_its_place():
    page = Page(render_report(full_report()))
    charts = [svg for svg in page.all('svg') if 'aria-hidden' not in svg]
    assert len(charts) == 2 + 2
    assert all(svg['aria-label'] for svg in charts)
    assert all(image['alt'] for image in page.all('img'))


def test_panel_names_its_gaps_and_its_emptiness():
    text = Page(render_report(full_report())).text
    assert '1 value is not finite and left out.' in text
    assert 'Nothing was recorded for this chart.' in text


@pytest.mark.parametrize(
    ('seconds', 'words'),
    [
        (0.6, '1 second'),
        (99.4, '99 seconds'),
        (120, '2 minutes'),
        (143.2, '2 minutes 23 seconds'),
        (3599.7, '1 hour'),
        (7290, '2 hours 1 minute'),
    ],
)
def test_duration_is_in_words(seconds, words):
    assert format_duration(seconds) == words


def test_report_is_written_into_a_new_folder_and_nothing_beside_it(tmp_path: Path):
    path = write_report(full_report('\u732b'), tmp_path / 'new' / 'report.html')
    assert path.read_text(encoding='utf-8') == render_report(full_report('\u732b'))
    assert [file.name for file in path.parent.iterdir()] == ['report.html']


def test_old_report_stays_when_rendering_fails(tmp_path: Path):
    path = write_report(full_report(), tmp_path / 'report.html')
    before = path.read_bytes()
    broken = replace(full_report(), seconds=float('nan'))
    with pytest.raises(ValueError, match='NaN'):
        write_report(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ['report.html']


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path):
    (tmp_path / 'report.html').mkdir()
    with pytest.raises(OSError, match=r'report\.html'):
        write_report(full_report(), tmp_path / 'report.html')
    assert [file.name for file in tmp_path.iterdir()] == ['report.html']


def test_file_name_that_is_not_unicode_does_not_cost_the_report(tmp_path: Path):
    strange = os.fsdecode(b'caf\xe9.jpg')
    path = write_report(replace(full_report(), facts={'file': strange}), tmp_path / 'report.html')
    assert 'caf\ufffd.jpg' in Page(path.read_text('utf-8')).text


def chromium(page: Path, *options: str) -> subprocess.CompletedProcess:
    """Open a page without a window and without a network."""
    switches = (
        'headless no-sandbox disable-gpu disable-dev-shm-usage no-first-run disable-sync hide-scrollbars '
        'disable-background-networking disable-component-update enable-logging=stderr'
    )
    command = [str(CHROMIUM), *(f'--{switch}' for switch in switches.split())]
    command += [f'--user-data-dir={page.parent / "profile"}', *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def console(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if ':CONSOLE' in line]


@pytest.mark.slow
@pytest.mark.needs('chromium', 'chromium-browser', 'google-chrome')
@pytest.mark.parametrize('width', [500, 1400])
def test_browser_draws_the_page_without_errors(tmp_path: Path, width: int):
    path = write_report(full_report(), tmp_path / 'report.html')
    shot = tmp_path / 'shot.png'
    done = chromium(path, f'--window-size={width},2400', f'--screenshot={shot}')
    assert console(done) == []
    pixels = np.array(Image.open(shot).convert('RGB'))
    assert pixels.shape == (2400, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500  # pictures and anti-aliased text
    bars = (pixels == (0x2A, 0x66, 0xAD)).all(axis=2)
    assert bars.sum() > 1000


PROBE_SCRIPT = """
<script>
const page = document.documentElement;
document.title = page.scrollWidth - page.clientWidth + '|' + document.querySelectorAll('svg[role]').length;
</script>
"""


@pytest.mark.slow
@pytest.mark.needs('chromium', 'chromium-browser', 'google-chrome')
def test_page_fits_a_narrow_window_and_runs_no_script(tmp_path: Path):
    page, probed = tmp_path / 'page.html', tmp_path / 'probed.html'
    html = render_report(full_report()).replace('</body>', PROBE_SCRIPT + '</body>')
    page.write_text(html, 'utf-8')
    (refusal,) = console(chromium(page, '--window-size=500,900', '--dump-dom'))
    assert 'violates the following Content Security Policy' in refusal
    allowed = html.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    probed.write_text(allowed, 'utf-8')
    done = chromium(probed, '--window-size=500,900', '--dump-dom')
    assert console(done) == []
    assert '<title>0|4</title>' in done.stdout


@pytest.mark.slow
@pytest.mark.needs('chromium', 'chromium-browser', 'google-chrome')
def test_errors_of_a_page_would_be_seen(tmp_path: Path):
    page = tmp_path / 'broken.html'
    page.write_text('<script>nothing.at.all</script>', 'utf-8')
    assert 'nothing is not defined' in console(chromium(page, '--dump-dom'))[0]
