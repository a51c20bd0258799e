# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images and videos out of shards: the same as out of files, wherever the shards lie and whoever wrote them."""

import os
import pickle
import tempfile
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import webdataset
from torch.utils.data import DataLoader

from vicmae.data_tools.packing.shard_writer import frame_members, write_shard
from vicmae.datasets import (
    ImageFolder,
    ImageShards,
    MixtureSampler,
    SampleKey,
    VideoFolder,
    VideoShards,
)
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.io.shards import samples
from vicmae.io.shards.index import build_index, index_path, write_index

from ...io.web_server import serve

VIEWS = [
    dict(type='LoadImage'),
    dict(type='TwoViews', transforms=[dict(type='RandomResizedCrop', size=16)]),
    dict(type='PackViews'),
]
FRAMES = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Nothing goes to the cache of whoever runs the tests."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))


def pack(source, folder, per_shard=5):
    """Writes the files of a source into shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(source), per_shard):
        with write_shard(f'{folder}/a-{start // per_shard:03d}.tar') as shard:
            for index in range(start, min(start + per_shard, len(source))):
                info = source.get_data_info(index)
                path = Path(info['path'])
                notes = dict(label=info['gt_label'], class_name=info['class_name'])
                shard.add(f'{index:06d}', {path.suffix[1:]: path.read_bytes()}, notes)
    return folder


@pytest.fixture(scope='module')
def images(demo_data, tmp_path_factory):
    """The demo's images as files and in shards."""
    source = ImageFolder(str(demo_data / 'images/train'))
    return source, pack(source, tmp_path_factory.mktemp('images'))


@pytest.fixture(scope='module')
def videos(demo_data, tmp_path_factory):
    source = VideoFolder(str(demo_data / 'videos/train'))
    return source, pack(source, tmp_path_factory.mktemp('videos'))


def contents(source):
    """What a source of images gives: (label, bytes)."""
    infos = [source.get_data_info(i) for i in range(len(source))]
    return [(i['gt_label'], i.get('media') or Path(i['path']).read_bytes()) for i in infos]


def few_shards(folder, *names, start=0):
    """A shard of each name, with two samples that say where they are."""
    for name in names:
        with write_shard(str(folder / name)) as shard:
            for number in (start, start + 1):
                shard.add(f'{number}', {'jpg': f'{name} {number}'.encode()})
    return folder


def media_of(source):
    return [source.get_data_info(i)['media'].decode() for i in range(len(source))]


def test_shards_have_the_files_with_their_metadata(images):
    files, folder = images
    source = ImageShards(str(folder))
    assert len(source) == len(files) > 10
    assert contents(source) == contents(files)
    assert source.metainfo['classes'] == files.metainfo['classes']
    assert source.get_data_info(7)['path'] == f'{folder}/a-001.tar/000007'
    assert source.get_data_info(7)['class_name'] == files.get_data_info(7)['class_name']


def test_same_key_gives_the_views_and_frames_of_the_file(images, videos):
    (pictures, folder), (clips, packed) = images, videos
    from_file = ImageFolder(pictures.data_root, pipeline=VIEWS)[SampleKey(0, 1, 8)]
    in_shard = ImageShards(str(folder), pipeline=VIEWS)[SampleKey(0, 1, 8)]
    assert torch.equal(torch.stack(from_file['inputs']), torch.stack(in_shard['inputs']))
    from_file = VideoFolder(clips.data_root, pipeline=FRAMES)[SampleKey(0, 1, 3)]
    in_shard = VideoShards(str(packed), pipeline=FRAMES)[SampleKey(0, 1, 3)]
    assert from_file['frame_ids'] == in_shard['frame_ids']
    assert np.array_equal(from_file['frames'], in_shard['frames'])


def test_shards_that_webdataset_wrote_are_read(images, tmp_path):
    files, _ = images
    with webdataset.ShardWriter(f'{tmp_path}/%04d.tar', maxcount=7, verbose=0) as writer:
        for number, (label, content) in enumerate(contents(files)):
            writer.write({'__key__': f'{number:05d}', 'jpg': content, 'cls': label})
    assert contents(ImageShards(str(tmp_path))) == contents(files)


def test_webdataset_reads_shards_of_vicmae(images):
    files, folder = images
    shards = f'{folder}/a-{{000..{(len(files) - 1) // 5:03d}}}.tar'
    read = webdataset.WebDataset(shards, shardshuffle=False).decode()
    assert [sample['json']['label'] for sample in read] == [label for label, _ in contents(files)]
    raw = webdataset.WebDataset(shards, shardshuffle=False)
    assert [sample['jpg'] for sample in raw] == [content for _, content in contents(files)]


def test_each_sample_comes_once_from_workers_that_share_open_shards(images):
    files, folder = images
    source = ImageShards(str(folder))
    source.get_data_info(0)  # opens a shard in this process
    sampler = MixtureSampler(source, seed=0)
    loader = DataLoader(source, 3, sampler=sampler, num_workers=2, collate_fn=list)
    read = {sample['path']: sample['media'] for batch in loader for sample in batch}
    assert len(read) == len(source)
    assert sorted(read.values()) == sorted(content for _, content in contents(files))


def test_spawned_worker_gets_names_and_not_indexes(images):
    source = ImageShards(str(images[1]))
    source.get_data_info(0)
    assert len(ForkingPickler.dumps(source)) < 10_000
    again = pickle.loads(pickle.dumps(source))
    assert contents(again) == contents(source)


def test_probe_takes_so_many_of_each_class_as_of_files(images):
    files, folder = images
    few = ImageFolder(files.data_root, with_labels=True, max_per_class=3)
    assert contents(ImageShards(str(folder), with_labels=True, max_per_class=3)) == contents(few)


def test_probe_refuses_shards_without_labels(tmp_path):
    few_shards(tmp_path, 'a.tar')
    with pytest.raises(
        DataError,
        match=r"2 of 2 in .* have none, such as '.*/a\.tar/0'\. Pack them from files with",
    ):
        ImageShards(str(tmp_path), with_labels=True)


def test_classes_of_another_data_set_are_refused(tmp_path):
    for name in ('ant', 'bee'):
        with write_shard(f'{tmp_path}/{name}.tar') as shard:
            shard.add('1', {'jpg': b''}, dict(label=0, class_name=name))
    with pytest.raises(DataError, match=r"label 0 is 'ant' in '.*ant\.tar' and 'bee' in"):
        ImageShards(str(tmp_path))


def test_shards_are_named_in_any_way(tmp_path):
    few_shards(tmp_path, 'a-08.tar', 'a-09.tar', 'a-10.tar')
    (tmp_path / 'a-11.tar.unfinished').touch()
    all_of_them = [f'a-{n}.tar {k}' for n in ('08', '09', '10') for k in '01']
    a = f'{tmp_path}/a-'
    for shards in (
        str(tmp_path),
        f'{a}*',
        f'{a}{{08..10}}.tar',
        f'{a}{{08,09}}.tar {a}10.tar'.split(),
        [f'{a}0?.tar', f'file://{a}10.tar'],
    ):
        assert media_of(ImageShards(shards)) == all_of_them


def test_missing_shards_are_named(tmp_path):
    few_shards(tmp_path, 'a-0.tar')
    with pytest.raises(DataError, match=r"No shards match '.*a-1\.tar'"):
        ImageShards(f'{tmp_path}/a-{{0..1}}.tar')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match=r"No shards match '.*empty/\*\.tar'"):
        ImageShards(f'{tmp_path}/empty')
    with pytest.raises(DataError, match='unbalanced braces'):
        ImageShards(f'{tmp_path}/a-{{0..1.tar')
    with pytest.raises(DataError, match='`shards` is empty'):
        ImageShards([])
    with pytest.raises(DataError, match=r"names 1 shards more than once, such as '.*a-0\.tar'"):
        ImageShards([str(tmp_path), f'{tmp_path}/a-0.tar'])


def test_shards_of_another_kind_are_refused(videos):
    with pytest.raises(DataError, match=r'no samples of the kind image .*They have video: \d+\.'):
        ImageShards(str(videos[1]))


def test_kinds_in_one_shard_are_separate(tmp_path):
    with write_shard(f'{tmp_path}/a.tar') as shard:
        for number in range(6):
            kind = ('jpg', 'txt', 'mp4')[number % 3]
            shard.add(f'{number}', {kind: f'{kind} {number}'.encode()}, dict(label=number))
    few_shards(tmp_path, 'b.tar')
    assert media_of(ImageShards(str(tmp_path))) == ['jpg 0', 'jpg 3', 'b.tar 0', 'b.tar 1']
    assert media_of(VideoShards(str(tmp_path))) == ['mp4 2', 'mp4 5']
    assert VideoShards(str(tmp_path)).catalogue.labels().tolist() == [2, 5]


def test_more_shards_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, '_MAX_OPEN_FILES', 3)
    monkeypatch.setattr(samples, '_MAX_OPEN_INDEXES', 3)
    few_shards(tmp_path, *(f'{i}.tar' for i in range(8)))
    source = ImageShards(str(tmp_path))
    num_open = len(os.listdir('/proc/self/fd'))
    expected = [f'{i}.tar {k}' for i in range(8) for k in '01']
    for _ in range(3):
        order = np.random.permutation(16).tolist()
        assert [source.get_data_info(i)['media'].decode() for i in order] == [
            expected[i] for i in order
        ]
        assert len(os.listdir('/proc/self/fd')) <= num_open + 3


def test_missing_index_is_made_once(tmp_path):
    few_shards(tmp_path, 'a.tar')
    index = tmp_path / 'a.tar.index'
    whole = index.read_bytes()
    index.unlink()
    cache = str(tmp_path / 'cache')
    assert media_of(ImageShards(str(tmp_path), cache_dir=cache)) == ['a.tar 0', 'a.tar 1']
    assert index.read_bytes() == whole
    made = index.stat().st_mtime_ns
    ImageShards(str(tmp_path), cache_dir=cache)
    assert index.stat().st_mtime_ns == made


@contextmanager
def _as_somebody_else():
    """Root may write anywhere."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_index_of_a_shard_in_a_read_only_folder_is_written_to_the_cache():
    with tempfile.TemporaryDirectory() as folder:
        few_shards(Path(folder), 'a.tar')
        os.unlink(f'{folder}/a.tar.index')
        os.mkdir(f'{folder}/cache')
        os.chmod(f'{folder}/cache', 0o777)
        os.chmod(folder, 0o555)
        with _as_somebody_else():
            for _ in range(2):
                source = ImageShards(f'{folder}/a.tar', cache_dir=f'{folder}/cache')
                assert media_of(source) == ['a.tar 0', 'a.tar 1']
            assert len([n for n in os.listdir(f'{folder}/cache') if n.endswith('.index')]) == 1
            with pytest.raises(
                DataError, match=r"Can't write to '.*/mine'.*Set `cache_dir` to another folder"
            ):
                ImageShards(f'{folder}/a.tar', cache_dir=f'{folder}/mine')
        os.chmod(folder, 0o755)


def test_cache_is_below_the_home_by_default(tmp_path):
    few_shards(tmp_path, 'a.tar')
    ImageShards(f'pipe:cat {tmp_path}/a.tar')
    (kept,) = (tmp_path / 'xdg/vicmae/shards').glob('*.tar')
    assert kept.read_bytes() == (tmp_path / 'a.tar').read_bytes()


def test_index_of_another_shard_is_refused(tmp_path):
    few_shards(tmp_path, 'a.tar')
    with open(tmp_path / 'a.tar', 'ab') as file:
        file.write(bytes(512))
    with pytest.raises(DataError, match=r"index '.*a\.tar\.index' belongs to a shard of 10240"):
        ImageShards(str(tmp_path))


def test_shard_truncated_while_it_is_read_costs_the_missing_samples(tmp_path):
    few_shards(tmp_path, 'a.tar')
    source = ImageShards(str(tmp_path))
    os.truncate(tmp_path / 'a.tar', 1200)
    assert source.get_data_info(0)['media'] == b'a.tar 0'
    with pytest.raises(DataError, match=r"Can't read '.*a\.tar/1': of its 7 bytes .* has 0"):
        source.get_data_info(1)


def test_shard_that_cannot_be_read_any_more_is_named(tmp_path):
    few_shards(tmp_path, 'a.tar')
    source = ImageShards(str(tmp_path))
    os.unlink(tmp_path / 'a.tar')
    with pytest.raises(DataError, match=r"Can't read the shard '.*a\.tar': No such file"):
        source.get_data_info(1)
    (tmp_path / 'a.tar').symlink_to('/proc/self/mem')  # nothing is mapped at such low addresses
    with pytest.raises(DataError, match=r"Can't read the shard '.*a\.tar': Input/output error"):
        source.get_data_info(1)


@pytest.fixture
def frames(demo_data, tmp_path):
    """Frames of two videos, one of which doesn't say how fast they are."""
    jpegs = [path.read_bytes() for path in sorted((demo_data / 'images/train').rglob('*.jpg'))[:6]]
    with write_shard(f'{tmp_path}/a.tar') as shard:
        shard.add('fast', frame_members(jpegs), dict(fps=10, label=1))
        shard.add('unknown', frame_members(jpegs[::-1]), dict(label=2))
    return tmp_path, [EncodedImage(jpeg).decode() for jpeg in jpegs]


def test_frames_are_decoded_one_by_one(frames):
    folder, pictures = frames
    with VideoShards(str(folder)).get_data_info(0)['media'] as reader:
        assert (reader.num_frames, reader.fps) == (6, 10)
        for id_, frame in zip([4, 0, 4], reader.frames([4, 0, 4]), strict=True):
            assert np.array_equal(frame, pictures[id_])


def test_frames_go_through_the_pipeline_of_videos(frames):
    folder, pictures = frames
    sample = VideoShards(str(folder), fps=2, pipeline=FRAMES)[SampleKey(0, 0, 1)]
    assert (sample['kind'], sample['gt_label'], sample['fps']) == ('video', 2, 2)
    for id_, frame in zip(sample['frame_ids'], sample['frames'], strict=True):
        assert np.array_equal(frame, pictures[5 - id_])


def test_frames_of_unknown_speed_are_refused_by_name(frames):
    source = VideoShards(str(frames[0]))
    with pytest.raises(DataError, match=r"frames per second of '.*/unknown' are unknown\. Give"):
        source.get_data_info(1)
    with pytest.raises(ValueError, match='`fps` must be a positive number, got 0'):
        VideoShards(str(frames[0]), fps=0)


def test_gap_longer_than_any_video_in_shards_is_refused(frames):
    def open_with_gap(gap):
        steps = [dict(type='OpenVideo'), dict(type='FixedGapFramePair', gap=gap)]
        return VideoShards(str(frames[0]), pipeline=steps)

    assert open_with_gap(5)[SampleKey(0, 0, 0)]['frame_ids'] == [0, 5]
    with pytest.raises(DataError, match=r"longest, '.*a\.tar/fast', has 6 frames"):
        open_with_gap(6)


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / 'cache')


@pytest.fixture
def shelf(tmp_path):
    """A folder to be served, with two shards."""
    (tmp_path / 'shelf').mkdir()
    return few_shards(tmp_path / 'shelf', 'a-0.tar', 'a-1.tar')


ALL = ['a-0.tar 0', 'a-0.tar 1', 'a-1.tar 0', 'a-1.tar 1']


def test_only_members_are_requested_from_a_server(shelf, cache):
    with serve(shelf) as server:
        shards = f'{server.url}/a-{{0..1}}.tar'
        source = ImageShards(shards, cache_dir=cache)
        assert source.get_data_info(3)['path'] == f'{server.url}/a-1.tar/1'
        server.requests.clear()
        assert media_of(source) == ALL
        assert server.requests == [
            (f'/a-{n}.tar', f'bytes={offset}-{offset + 8}')
            for n in (0, 1)
            for offset in (512, 1536)
        ]
        server.requests.clear()
        ImageShards(shards, cache_dir=cache)  # has the indexes
        assert sorted(server.requests) == [
            (f'/a-{n}.tar', asked) for n in (0, 1) for asked in ('HEAD', 'bytes=1-1')
        ]


@pytest.mark.parametrize('protocol', ['http', 'memory'])
def test_workers_read_from_any_file_system_as_this_process_does(shelf, cache, protocol):
    with serve(shelf) as server:
        folder = server.url
        if protocol == 'memory':
            folder = 'memory://shelf'
            fsspec.filesystem('memory').put(f'{shelf}/*', '/shelf/')
        source = ImageShards(f'{folder}/a-{{0..1}}.tar', cache_dir=cache)
        for _ in range(2):
            assert media_of(source) == ALL  # connections are open when workers are forked
            loader = DataLoader(
                source, 2, sampler=MixtureSampler(source), num_workers=2, collate_fn=list
            )
            read = [sample['media'].decode() for batch in loader for sample in batch]
            assert sorted(read) == ALL
        assert not list(Path(cache).glob('*.tar'))  # by parts


def test_url_may_have_a_query(shelf, cache):
    with serve(shelf) as server:
        ImageShards(f'{server.url}/a-0.tar?key=1', cache_dir=cache)
        assert ('/a-0.tar.index?key=1', None) in server.requests


@pytest.mark.parametrize('gives_parts', [False, True])
def test_shard_is_downloaded_once_without_range_requests_or_index(shelf, cache, gives_parts):
    if gives_parts:
        for index in shelf.glob('*.index'):
            index.unlink()
    with serve(shelf, gives_parts) as server:
        for _ in range(2):
            source = ImageShards(f'{server.url}/a-{{0..1}}.tar', cache_dir=cache)
            assert media_of(source) == ALL
        assert source.get_data_info(0)['path'] == f'{server.url}/a-0.tar/0'
        whole = [request for request in server.requests if request == ('/a-0.tar', None)]
        assert len(whole) == 1


@pytest.mark.parametrize('change', ['size', 'etag', 'time'])
def test_changed_shard_is_downloaded_again(shelf, cache, change):
    with serve(shelf, gives_parts=False) as server:

        def opened():
            return ImageShards(f'{server.url}/a-0.tar', cache_dir=cache)

        server.etag = '"1"'
        os.utime(shelf / 'a-0.tar', (1e9, 1e9))
        before = opened()
        content = (shelf / 'a-0.tar').read_bytes().replace(b'a-0.tar 0', b'another 0')
        (shelf / 'a-0.tar').write_bytes(content + bytes(10240 if change == 'size' else 0))
        os.utime(shelf / 'a-0.tar', (1e9, 1e9 + (change == 'time')))
        server.etag = '"2"' if change == 'etag' else '"1"'
        for _ in range(2):
            assert media_of(opened()) == ['another 0', 'a-0.tar 1']
        assert media_of(before) == ALL[:2]  # a run in progress has its own
        assert server.requests.count(('/a-0.tar', None)) == 2


def test_index_of_an_older_shard_is_not_used_for_one_of_the_same_size(shelf, cache):
    with serve(shelf) as server:
        shards = f'{server.url}/a-0.tar'
        assert media_of(ImageShards(shards, cache_dir=cache)) == ALL[:2]
        size = (shelf / 'a-0.tar').stat().st_size
        with write_shard(str(shelf / 'a-0.tar')) as shard:
            shard.add('longer', {'jpg': b'one sample in the place of two'})
        server.etag = '"2"'
        assert (shelf / 'a-0.tar').stat().st_size == size
        assert media_of(ImageShards(shards, cache_dir=cache)) == ['one sample in the place of two']


def test_command_of_a_shard_is_run_once(shelf, cache, tmp_path):
    command = f'pipe:echo >> {tmp_path}/runs; cat {shelf}/a-{{0..1}}.tar'
    for _ in range(2):
        assert media_of(ImageShards(command, cache_dir=cache)) == ALL
    assert (tmp_path / 'runs').read_text() == '\n\n'


def _open_in_process(shards, cache, results):
    results.put(media_of(ImageShards(shards, cache_dir=cache)))


def test_processes_download_a_shard_once(shelf, cache):
    context = get_context('fork')
    with serve(shelf, gives_parts=False) as server:
        results = context.Queue()
        arguments = (f'{server.url}/a-{{0..1}}.tar', cache, results)
        processes = [context.Process(target=_open_in_process, args=arguments) for _ in range(3)]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == [ALL] * 3
        for process in processes:
            process.join()
        assert server.requests.count(('/a-1.tar', None)) == 1


def test_server_with_another_shard_than_the_index_is_refused(shelf, cache):
    with open(shelf / 'a-1.tar', 'ab') as file:
        file.write(bytes(512))
    with serve(shelf) as server:
        for _ in range(2):
            with pytest.raises(DataError, match=r"a-1\.tar\.index' belongs to a shard of 10240"):
                ImageShards(f'{server.url}/a-1.tar', cache_dir=cache)
        write_index(build_index(str(shelf / 'a-1.tar')), index_path(str(shelf / 'a-1.tar')))
        assert media_of(ImageShards(f'{server.url}/a-1.tar', cache_dir=cache)) == ALL[2:]


def test_file_that_is_not_a_shard_is_not_kept(shelf, cache):
    (shelf / 'page.tar').write_text('<html>Sign in</html>')
    with serve(shelf, gives_parts=False) as server:
        with pytest.raises(DataError, match=r"Can't read the shard 'http.*page\.tar'"):
            ImageShards(f'{server.url}/page.tar', cache_dir=cache)
        few_shards(shelf, 'page.tar')
        assert len(ImageShards(f'{server.url}/page.tar', cache_dir=cache)) == 2


@pytest.mark.parametrize('gives_parts', [False, True])
def test_shard_missing_on_a_server_is_named(shelf, cache, gives_parts):
    with (
        serve(shelf, gives_parts) as server,
        pytest.raises(DataError, match=r"no shard 'http.*nowhere\.tar'.*404"),
    ):
        ImageShards(f'{server.url}/nowhere.tar', cache_dir=cache)


def test_member_missing_on_a_server_is_an_error_of_its_sample(shelf, cache):
    with serve(shelf) as server:
        source = ImageShards(f'{server.url}/a-{{0..1}}.tar', cache_dir=cache)
        (shelf / 'a-0.tar').unlink()
        os.truncate(shelf / 'a-1.tar', 1540)
        with pytest.raises(DataError, match=r"Can't read the shard 'http.*a-0\.tar': .*not found"):
            source.get_data_info(0)
        with pytest.raises(DataError, match=r"a-1\.tar/1': of its 9 bytes .* has 4"):
            source.get_data_info(3)
