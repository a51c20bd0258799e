# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo data set: what is written, what is kept, and what is refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest

from vicmae.demo import data as demo
from vicmae.demo import scenes as demo_scenes
from vicmae.demo.data import make_demo_data

COMMAND = """
import sys
from vicmae.demo.data import make_demo_data
make_demo_data(sys.argv[1], preset=sys.argv[2], num_workers=2)
"""


@pytest.fixture(scope='module')
def debug_root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('data') / 'debug', preset='debug', num_workers=2)


@pytest.fixture
def own_root(tmp_path, debug_root):
    """A data set that a test may damage."""
    return shutil.copytree(debug_root, tmp_path / 'debug')


def start_writing(root, preset):
    """Write demo data in another process, as from another terminal."""
    arguments = [sys.executable, '-c', COMMAND, str(root), preset]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)


def files_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in pictures_of(root)}


def pictures_of(root):
    return sorted(path for path in root.rglob('*') if path.suffix in ('.jpg', '.mp4'))


def write_times(root):
    return {path: path.stat().st_mtime_ns for path in pictures_of(root)}


# ------------------------------------------------------------------------- what is written
def test_debug_preset_has_its_files_in_class_folders(debug_root):
    counts = {}
    for path in pictures_of(debug_root):
        kind, split, _, _ = path.relative_to(debug_root).parts
        counts[kind, split] = counts.get((kind, split), 0) + 1
    assert counts == {
        ('images', 'train'): 48,
        ('images', 'val'): 16,
        ('videos', 'train'): 16,
        ('videos', 'val'): 8,
    }
    for folder in ('images/train', 'images/val', 'videos/train', 'videos/val'):
        assert len(list((debug_root / folder).iterdir())) == 4


def test_images_open_and_are_no_flat_colour(debug_root):
    for path in debug_root.glob('images/val/*/*.jpg'):
        image = cv2.imread(str(path))
        assert image.shape == (80, 80, 3)
        assert image.std() > 15


def test_videos_open_with_three_seconds_that_move(debug_root):
    for path in debug_root.glob('videos/val/*/*.mp4'):
        reader = decord.VideoReader(str(path), num_threads=1)
        assert len(reader) == 36
        assert reader.get_avg_fps() == pytest.approx(12, abs=0.01)
        assert reader.get_key_indices() == [0, 12, 24]
        first, last = reader.get_batch([0, 20]).asnumpy().astype(float)
        assert first.shape == (80, 80, 3)
        assert np.abs(first - last).mean() > 8


def test_video_holds_the_frames_of_its_scene(tmp_path):
    """Channels in the right order, and no frame lost or moved by the codec."""
    scene = demo_scenes.Scene('zigzag_heart', np.random.default_rng(0))
    frames = [scene.draw(t) for t in np.linspace(0, 1, demo_scenes.NUM_FRAMES)]
    demo_scenes.write_video(tmp_path / 'a.mp4', frames)
    decoded = decord.VideoReader(str(tmp_path / 'a.mp4')).get_batch(range(36)).asnumpy()
    error = np.abs(decoded.astype(float) - np.stack(frames)).mean(axis=(1, 2))  # (T, C)
    assert error.max() < 16  # the codec keeps a quarter of the colour samples
    assert np.abs(decoded[1:].astype(float) - np.stack(frames[:-1])).mean() > 1.3 * error.mean()


def test_pictures_of_one_class_differ(debug_root):
    images = [
        cv2.imread(str(path)) for path in sorted(debug_root.glob('images/*/dotted_star/*.jpg'))
    ]
    for index, image in enumerate(images):
        for other in images[:index]:
            assert np.abs(image.astype(float) - other).mean() > 10


def test_things_are_drawn_in_every_class():
    for thing in demo_scenes.THINGS:
        bitmap = demo_scenes.Scene(thing, np.random.default_rng(0)).thing
        covered = (bitmap[..., 3] > 127).mean()
        assert 0.3 < covered < 0.7, thing
        assert bitmap[0].max() == bitmap[:, 0].max() == 0, f'{thing} touches the edge of its bitmap'


def test_mean_colour_does_not_tell_the_class(tmp_path):
    """Nearest neighbours by mean colour: hardly better than chance, an eighth."""
    colours, labels = [], []
    for label, thing in enumerate(demo_scenes.THINGS):
        for index in range(40):
            frame = demo_scenes.Scene(thing, np.random.default_rng([label, index])).draw(0.5)
            colours.append(frame.mean((0, 1)))
            labels.append(label)
    colours, labels = np.array(colours), np.array(labels)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.diag(
        [np.inf] * len(labels)
    )
    assert (labels[distances.argmin(1)] == labels).mean() < 0.3


@pytest.mark.slow
def test_files_depend_on_seed_alone(debug_root, tmp_path):
    one_worker = make_demo_data(tmp_path / 'same', preset='debug', num_workers=1)
    assert files_of(one_worker) == files_of(debug_root)
    other_seed = make_demo_data(tmp_path / 'other', preset='debug', seed=1, num_workers=2)
    same = [
        name for name, data in files_of(other_seed).items() if files_of(debug_root)[name] == data
    ]
    assert not same


def test_files_do_not_depend_on_the_instructions_of_the_processor(debug_root, tmp_path):
    """On a processor with AVX-512, others are drawn without it. Without AVX-512, both are the same anyway."""
    names = [path.relative_to(debug_root).as_posix() for path in sorted(debug_root.rglob('*.jpg'))]
    env = os.environ | dict(NPY_DISABLE_CPU_FEATURES='AVX512_ICL AVX512_SKX X86_V4')
    command = [sys.executable, demo_scenes.__file__, str(tmp_path), '0']
    subprocess.run(command, input='\n'.join(names), text=True, check=True, env=env, stderr=-3)
    assert [n for n in names if (tmp_path / n).read_bytes() != (debug_root / n).read_bytes()] == []


def test_debug_preset_is_part_of_demo_preset():
    small, large = demo.Layout.of('debug', 0), demo.Layout.of('demo', 0)
    assert set(small.names()) < set(large.names())


# ------------------------------------------------------------------------- what is kept
def test_complete_data_return_at_once_and_untouched(debug_root, capsys):
    before = write_times(debug_root)
    start = time.process_time()
    assert make_demo_data(debug_root, preset='debug') == debug_root
    assert time.process_time() - start < 0.2
    assert write_times(debug_root) == before
    assert capsys.readouterr().err == ''


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize('damage', [Path.unlink, cut_short])
def test_damaged_files_are_written_again_and_no_others(own_root, capsys, damage):
    before, contents = write_times(own_root), files_of(own_root)
    damaged = {
        own_root / 'images/val/dotted_star/0001.jpg',
        own_root / 'videos/train/dotted_star/0002.mp4',
    }
    for path in damaged:
        damage(path)
    make_demo_data(own_root, preset='debug')
    assert 'writing demo data: 1 images, 1 videos' in capsys.readouterr().err
    assert files_of(own_root) == contents
    after = write_times(own_root)
    assert {path for path in after if after[path] != before[path]} == damaged


def test_files_of_unknown_origin_are_not_kept(own_root, debug_root):
    """Neither marker nor manifest says what is there: another seed may have drawn it."""
    (own_root / demo.MANIFEST).unlink()
    (own_root / demo.MARKER).write_text('')
    (own_root / 'images/val/dotted_star/0001.jpg').write_bytes(b'another picture')
    make_demo_data(own_root, preset='debug')
    assert files_of(own_root) == files_of(debug_root)


@pytest.mark.parametrize('other', [dict(preset='demo'), dict(preset='debug', seed=5)])
def test_data_of_another_preset_or_seed_are_refused_and_left_alone(own_root, other):
    before = files_of(own_root)
    with pytest.raises(
        ValueError, match="holds demo data of preset 'debug' with seed 0; wanted"
    ) as caught:
        make_demo_data(own_root, **other)
    assert f'`demo_data.root={own_root}-{other["preset"]}`' in str(caught.value)
    assert files_of(own_root) == before
    make_demo_data(own_root, preset='debug')  # which is still complete


def test_files_of_an_older_version_are_replaced_and_those_of_the_user_kept(own_root):
    old = demo.Layout(0, 'debug', 0, ['cellular_flower'], {'images/train': 2})
    demo._write_json(own_root / demo.MARKER, demo.asdict(old))
    (own_root / demo.MANIFEST).unlink()
    for name in old.names():
        demo_scenes.write_file(own_root, name, 0)
    mine = own_root / 'images/train/dotted_star/mine.jpg'
    mine.write_bytes(b'mine')
    make_demo_data(own_root, preset='debug', num_workers=2)
    assert not (own_root / 'images/train/cellular_flower').exists()
    assert mine.read_bytes() == b'mine'
    assert len(pictures_of(own_root)) == 89


@pytest.mark.slow
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL], ids=['interrupted', 'killed'])
def test_interrupted_writing_continues_where_it_was(tmp_path, debug_root, how):
    root = tmp_path / 'data'
    writer = start_writing(root, 'debug')
    while len(pictures_of(root)) < 5:
        assert writer.poll() is None
        time.sleep(0.002)
    os.killpg(writer.pid, how)  # as Ctrl-C in a terminal does: to each process there
    messages = writer.communicate(timeout=20)[1]
    assert messages.count('Traceback') <= 1  # our own: the workers are silent
    time.sleep(0.5)  # a killed writer's workers end when they report the file in hand
    before = write_times(root)
    assert 5 <= len(before) < 88
    assert not (root / demo.MANIFEST).exists()
    make_demo_data(root, preset='debug', num_workers=2)
    after = write_times(root)
    assert all(after[path] == before[path] for path in before)
    assert files_of(root) == files_of(debug_root)


@pytest.mark.slow
def test_two_processes_at_once_write_each_file_once(tmp_path, debug_root):
    root = tmp_path / 'data'
    writers = [start_writing(root, 'debug') for _ in range(2)]
    messages = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], messages
    assert sum(message.count('wrote demo data') for message in messages) == 1
    assert files_of(root) == files_of(debug_root)


def test_threads_wait_for_the_lock(tmp_path, debug_root):
    root = tmp_path / 'data'
    root.mkdir()
    thread = threading.Thread(target=make_demo_data, args=(root, 'debug'))
    with demo.locked(root / demo.LOCK):
        thread.start()
        time.sleep(0.3)
        assert not pictures_of(root)
    thread.join(timeout=60)
    assert files_of(root) == files_of(debug_root)


# ------------------------------------------------------------------------- what is said and refused
def test_plain_lines_say_what_is_written(tmp_path, capsys):
    make_demo_data(tmp_path / 'data', preset='debug', num_workers=2)
    first, last = capsys.readouterr().err.splitlines()
    assert first == f'writing demo data: 64 images, 24 videos to {tmp_path / "data"}'
    assert re.fullmatch(r'wrote demo data: 64 images, 24 videos in \d+\.\d s', last)


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'holiday.jpg').write_bytes(b'mine')
    with pytest.raises(
        ValueError, match=r'is not empty .* found holiday\.jpg\. Nothing was changed'
    ):
        make_demo_data(tmp_path, preset='debug')
    assert [path.name for path in tmp_path.iterdir()] == ['holiday.jpg']


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / 'data').write_text('')
    with pytest.raises(ValueError, match='is a file'):
        make_demo_data(tmp_path / 'data', preset='debug')


def test_data_of_another_version_are_refused(own_root):
    (own_root / demo.MARKER).write_text('{"new": 1}')
    (own_root / demo.MANIFEST).unlink()
    with pytest.raises(ValueError, match='another version of vicmae. Delete it'):
        make_demo_data(own_root, preset='debug')
    assert len(pictures_of(own_root)) == 88


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(preset='tiny'), "must be one of demo, debug, got 'tiny'"),
        (dict(seed=-1), '`seed` must be 0 or more, got -1'),
        (dict(num_workers=0), '`num_workers` must be 1 or more, got 0'),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_demo_data(tmp_path / 'data', **arguments)
    assert not (tmp_path / 'data').exists()


def test_error_of_a_worker_is_one_clear_error(tmp_path):
    """A file stands where a class folder must be: for a worker the same as a full disk."""
    root = tmp_path / 'data'
    root.mkdir()
    demo._begin(root, demo.Layout.of('debug', 0))
    (root / 'videos').write_text('')
    with pytest.raises(
        ValueError, match=r"Could not write the demo data to .*data'.*Make room there"
    ) as caught:
        make_demo_data(root, preset='debug', num_workers=2)
    assert 'videos' in str(caught.value)


def test_tool_reports_errors_in_one_line(tmp_path):
    tool = Path(__file__).parents[2] / 'tools/dataset_converters/make_demo_data.py'
    (tmp_path / 'holiday.jpg').write_bytes(b'mine')
    result = subprocess.run(
        [sys.executable, str(tool), '--root', str(tmp_path), '--preset', 'debug'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(tool.parents[2])},
    )
    assert result.returncode == 1
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1
