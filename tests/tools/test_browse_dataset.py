# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The page of what a model gets, as a user makes it and as a browser shows it."""

import re
from pathlib import Path

import pytest

from ..chromium import probe
from .conftest import DEBUG

TOOL = 'visualization/browse_dataset.py'
IMAGES = 'train_dataloader.dataset.sources.images'
VIDEOS = 'train_dataloader.dataset.sources.videos'


@pytest.fixture(scope='module')
def page(run_tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    ended = run_tool(TOOL, DEBUG, '--number', 6, '--epoch', 1, '--out', folder)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == str(folder / 'index.html')
    return folder / 'index.html'


def test_page_has_both_kinds_and_the_command(page):
    text = page.read_text('utf-8')
    assert '3 images, 3 videos: the first of epoch 1 of vicmae_vit-tiny-p8_debug' in text
    assert '--number 6 --epoch 1' in text
    assert len(re.findall(r'gap \d\.\d\d s, \d+ frame', text)) == 3
    assert all(source.startswith('data:') for source in re.findall(r'src="(.*?)"', text))


@pytest.mark.slow
def test_seed_determines_the_samples_shown(run_tool, page, tmp_path):
    for name, seed in (('same', []), ('other', ['--seed', 5])):
        options = ['--number', 6, '--epoch', 1, '--out', tmp_path / name, *seed]
        assert run_tool(TOOL, DEBUG, *options).status == 0
    pictures = [
        re.findall('src="(.*?)"', path.read_text('utf-8'))
        for path in (page, tmp_path / 'same/index.html', tmp_path / 'other/index.html')
    ]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_gaps_are_printed_and_no_page_is_written(run_tool, tmp_path):
    ended = run_tool(TOOL, DEBUG, '--gaps', '--out', tmp_path)
    assert ended.status == 0, ended.err
    assert re.search(r'videos: [\d,]+ draws of DistantFramePair', ended.out)
    assert re.search(r'Mean gap 1\.0\d s', ended.out)
    assert len(re.findall(r'^ *[\d.]+ to [\d.]+ s #', ended.out, re.MULTILINE)) > 5
    assert list(tmp_path.iterdir()) == []


def test_disabled_source_is_not_shown(run_tool, tmp_path):
    options = ['--number', 2, '--out', tmp_path, '--cfg-options', f'{VIDEOS}=None']
    assert run_tool(TOOL, DEBUG, *options).status == 0
    text = (tmp_path / 'index.html').read_text('utf-8')
    assert '2 images: the first of epoch 0' in text
    assert 'Frame gaps' not in text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--gaps', '--cfg-options', f'{VIDEOS}=None'], 'no source of videos: there are no gaps'),
        (['--cfg-options', f'{IMAGES}.data_root=/no'], "`data_root` .* got '/no', which does not"),
        (['--cfg-options', 'train_dataloader=None'], 'no `train_dataloader`: no data to look at'),
        (['--cfg-options', 'modl.type=MAE'], 'no key `modl.type`'),
    ],
)
def test_error_of_a_user_ends_in_one_line(run_tool, options, message):
    ended = run_tool(TOOL, DEBUG, *options)
    assert ended.status == 1
    assert re.search(message, ended.err), ended.err
    assert ended.err.count('\n') == 1


def test_fewer_files_than_a_batch_are_shown_with_the_error_of_training(run_tool, place, tmp_path):
    (tmp_path / 'few').mkdir()
    for n, path in enumerate(sorted((place / 'data/demo-debug/images/train').rglob('*.jpg'))[:3]):
        (tmp_path / f'few/{n}.jpg').write_bytes(path.read_bytes())
    changes = [f'{IMAGES}.data_root={tmp_path}/few', f'{VIDEOS}=None']
    changes.append('train_dataloader.sampler.samples_per_epoch=None')
    ended = run_tool(TOOL, DEBUG, '--out', tmp_path / 'page', '--cfg-options', *changes)
    assert ended.status == 0, ended.err
    assert 'Training would refuse this. An epoch has 3 samples' in ended.out
    assert 'not one batch of 8. Lower `train_dataloader.batch_size`' in ended.out
    text = (tmp_path / 'page/index.html').read_text('utf-8')
    assert '3 images: the first of epoch 0' in text
    assert text.count('<figure>') == 3


def test_folder_that_cannot_be_written_is_refused_before_the_work(run_tool, tmp_path):
    (tmp_path / 'file').touch()
    out = tmp_path / 'file/page'
    ended = run_tool(TOOL, DEBUG, '--out', out, '--cfg-options', f'{IMAGES}.data_root=/no')
    assert ended.status == 1
    assert (
        ended.err
        == f"error: Can't write to `--out` '{out}': Not a directory. Choose another folder.\n"
    )


def test_number_of_samples_must_be_positive(run_tool):
    ended = run_tool(TOOL, DEBUG, '--number', 0)
    assert ended.status == 2
    assert '--number must be at least 1, got 0' in ended.err


WIDTHS = """
<script>
document.title = (document.documentElement.scrollWidth - document.documentElement.clientWidth) + '|'
  + [...document.querySelectorAll('.framed i')].filter((box) => {
    const [inner, outer] = [box, box.parentElement].map((node) => node.getBoundingClientRect());
    return inner.width < 4 || inner.left < outer.left - 1 || inner.right > outer.right + 1
      || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  }).length + '|' + document.querySelectorAll('.framed i').length;
</script>
"""


@pytest.mark.slow
@pytest.mark.needs('chromium', 'chromium-browser', 'google-chrome')
@pytest.mark.parametrize('width', [500, 1400])
def test_browser_shows_all_boxes_inside_their_frames(page, tmp_path: Path, width):
    assert '<title>0|0|12</title>' in probe(page.read_text('utf-8'), WIDTHS, tmp_path, width)
