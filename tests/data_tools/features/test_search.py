# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The nearest rows are those of a slow loop, and a file finds itself."""

import re
import shutil

import numpy as np
import pytest

from vicmae.apis import FeatureExtractor
from vicmae.cli.main import main
from vicmae.data_tools.features.files import read_features
from vicmae.data_tools.features.search import Place, find_nearest, found_text, search
from vicmae.data_tools.features.search_page import describe_time, render_found
from vicmae.errors import CheckpointError, ConfigError, DataError, EnvironmentFault


def slow_nearest(features, query, top, excluded):
    values = [f @ query / np.linalg.norm(f) / np.linalg.norm(query) for f in features]
    order = sorted(range(len(features)), key=lambda i: -values[i])
    return [i for i in order if i not in excluded][:top]


@pytest.mark.parametrize('size', [1, 7, 100])
@pytest.mark.parametrize('top', [1, 5, 200])
def test_nearest_rows_are_those_of_a_slow_loop(size, top):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 6)).astype(np.float32) * rng.uniform(0.1, 9, (100, 1))
    queries = rng.normal(size=(3, 6)).astype(np.float32)
    excluded = [np.array([], int), np.array([3, 40, 99]), np.arange(90)]
    blocks = [features[start : start + size] for start in range(0, 100, size)]
    for number, (rows, values) in enumerate(find_nearest(blocks, queries, top, excluded)):
        expected = slow_nearest(features, queries[number], top, set(excluded[number].tolist()))
        assert rows.tolist() == expected
        assert (np.diff(values) <= 0).all() and (values <= 1.0001).all()


def test_equal_rows_come_in_their_order():
    blocks = [np.ones((4, 2), np.float32)] * 3
    ((rows, _),) = find_nearest(blocks, np.ones((1, 2), np.float32), 6, [np.array([1])])
    assert rows.tolist() == [0, 2, 3, 4, 5, 6]


@pytest.fixture(scope='module')
def stored(checkpoints, media, tmp_path_factory):
    """A file of features of windows."""
    from vicmae.data_tools.features.run import write_features

    out = tmp_path_factory.mktemp('features') / 'a.npz'
    write_features(
        checkpoints['frames'], [str(media)], out, window=0.5, num_workers=0, device='cpu'
    )
    return out


def test_image_finds_itself(stored, media):
    (found,) = search(stored, [str(media / '2.jpg')], top=3, device='cpu')
    assert found.hits[0].path == str(media / '2.jpg')
    assert found.hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert len(found.hits) == 3


def test_row_finds_others_of_its_file_and_of_other_files(stored):
    paths = read_features(stored).paths
    row = int(np.flatnonzero([path.endswith('0.mp4') for path in paths])[1])
    (found,) = search(stored, [str(row)], top=1000)
    assert found.query.row == row and sorted(hit.row for hit in found.hits) == [
        n for n in range(len(paths)) if n != row
    ]
    (found,) = search(stored, [str(row)], top=1000, other_files=True)
    assert {hit.path for hit in found.hits} == {*paths} - {paths[row]}


def test_video_is_encoded_as_a_whole(stored, media, checkpoints):
    (found,) = search(stored, [str(media / '1.mp4')], device='cpu')
    assert found.query.row is None and len(found.query.frames) == 8
    query = FeatureExtractor(checkpoints['frames'], device='cpu')(media / '1.mp4').numpy()
    ((rows, values),) = find_nearest(
        [read_features(stored).features], query, 10, [np.empty(0, int)]
    )
    assert [hit.row for hit in found.hits] == rows.tolist()
    assert [hit.similarity for hit in found.hits] == pytest.approx(values.tolist(), abs=1e-5)


def test_table_has_one_line_for_each_row(stored, media, capsys):
    main(['search', str(stored), '3', str(media / '2.jpg'), '--top', '2', '--device', 'cpu'])
    lines = [line.split('\t') for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ['query', 'rank', 'similarity', 'row', 'from', 'to', 'path']
    assert [line[:2] for line in lines[1:]] == [
        ['3', '1'],
        ['3', '2'],
        [str(media / '2.jpg'), '1'],
        [str(media / '2.jpg'), '2'],
    ]
    found = search(stored, ['3', str(media / '2.jpg')], top=2, device='cpu')
    assert list(found_text(found)) == ['\t'.join(line) for line in lines]


def test_page_shows_the_middle_frames_and_times(stored, media, tmp_path, capsys):
    row = int(np.flatnonzero([p.endswith('0.mp4') for p in read_features(stored).paths])[0])
    out = tmp_path / 'pages/found.html'
    main(['search', str(stored), str(row), '--top', '4', '--out', str(out)])
    page = out.read_text()
    assert page.count('<img src="data:image/jpeg') == 5
    assert capsys.readouterr().out.strip() == str(out)
    for hit in search(stored, [str(row)], top=4)[0].hits:
        assert f'row {hit.row}: ' in page and describe_time(hit) in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_page_says_which_file_is_gone(checkpoints, media, tmp_path, write):
    own = shutil.copytree(media, tmp_path / 'media')
    write(checkpoints['frames'], own, tmp_path / 'a.npz')
    (own / '0.mp4').unlink()
    (own / '1.jpg').unlink()
    found = search(tmp_path / 'a.npz', ['0'], top=20)
    page = render_found(found, features='a.npz', num_rows=10)
    assert page.count('<img') == 8
    assert 'There is no video' in page and 'No such file' in page


def test_times_are_read_as_on_a_clock():
    def place(*times):
        return Place('a.mp4', (0,), times)

    assert describe_time(place(0.04, 1.96)) == '0:00.0 - 0:02.0'
    assert describe_time(place(59.96, 3723.5)) == '1:00.0 - 1:02:03.5'
    assert describe_time(place(7.0)) == '0:07.0'
    assert describe_time(place()) == ''


@pytest.mark.parametrize('query', ['100000', '1000'])
def test_row_that_is_not_there_is_refused(stored, query):
    with pytest.raises(DataError, match=rf'rows, numbered from 0, got row {query}\.'):
        search(stored, [query])


def test_other_weights_are_refused(stored, checkpoints, media):
    with pytest.raises(CheckpointError, match='are of other weights than'):
        search(stored, [str(media / '2.jpg')], checkpoint=str(checkpoints['clips']))
    with pytest.raises(CheckpointError, match='does not exist here. Name it'):
        search(stored, [str(media / '2.jpg')], checkpoint='none.pth')


def test_patches_are_not_searched(write, checkpoints, media, tmp_path):
    write(checkpoints['frames'], media, tmp_path / 'a.npz', output='dense')
    with pytest.raises(DataError, match='has the features of patches'):
        search(tmp_path / 'a.npz', ['0'])


def test_missing_query_is_named(stored):
    with pytest.raises(DataError, match=r"'none\.jpg'"):
        search(stored, ['none.jpg'], device='cpu')


def test_top_must_be_positive(stored):
    with pytest.raises(ConfigError, match='`--top` must be at least 1'):
        search(stored, ['0'], top=0)


def test_faiss_finds_the_same_or_is_named(stored, monkeypatch):
    try:
        import faiss  # noqa: F401
    except ImportError:
        with pytest.raises(EnvironmentFault, match='-m pip install faiss-cpu'):
            search(stored, ['0'], with_faiss=True)
        return
    one, two = (search(stored, ['0', '3'], other_files=True, with_faiss=w) for w in (False, True))
    assert [[hit.row for hit in f.hits] for f in one] == [[hit.row for hit in f.hits] for f in two]
