# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Windows of videos are what a slow loop reads, and each frame is decoded once."""

import numpy as np
import pytest
import torch
from PIL import Image

from vicmae.datasets.clip_reader import ClipReader, Span, _Reading, as_frames
from vicmae.datasets.transforms import CenterCrop
from vicmae.errors import DataError
from vicmae.io.video import VideoReader, open_video
from vicmae.io.video._pyav import PyavVideo


class Toy(VideoReader):
    """Frames of one level each, some of which can't be decoded. It counts how often each is."""

    name, height, width = 'toy', 8, 8

    def __init__(self, times, bad=()):
        self.shown, self.bad = np.array(times), set(bad)
        self.num_frames, self.fps = len(times), (len(times) - 1) / (times[-1] - times[0])
        self.decoded = np.zeros(len(times), int)

    def frames(self, ids):
        for i in ids:
            if i in self.bad:
                raise DataError(f'Frame {i} is damaged.')
        self.decoded[list(ids)] += 1
        return [np.full((8, 8, 3), i % 256, np.uint8) for i in ids]

    def ids_at(self, seconds):
        return (np.searchsorted(self.shown, np.array(seconds) + 1e-9, side='right') - 1).tolist()

    def times_of(self, ids):
        return self.shown[list(ids)].tolist()

    def close(self):
        pass


def steady(seconds, fps=10.0, bad=()):
    return Toy(np.arange(round(seconds * fps)) / fps, bad)


def variable(seconds):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.3, 200))
    times -= times[0]
    return Toy(times[times < seconds])


def rows_of(reader, video):
    """The rows of a video, each with its pixels by level."""
    units, rows, note = [], [], ''
    for piece in reader(video):
        units += list(piece.units)
        rows += [(row, len(units)) for row in piece.rows]
        note = piece.note or note
    assert all(row.units[-1] < there for row, there in rows)  # complete with the piece
    levels = [np.concatenate([units[u][:, 0, 0, 0] for u in row.units]).tolist() for row, _ in rows]
    return [row for row, _ in rows], levels, note


@pytest.mark.parametrize('takes_clips', [False, True], ids=['frames', 'clips'])
@pytest.mark.parametrize(('window', 'stride'), [(2.0, 1.0), (1.0, 0.3), (0.5, 2.0), (3.0, None)])
@pytest.mark.parametrize('make', [steady, variable])
def test_windows_are_those_of_a_slow_loop(make, window, stride, takes_clips):
    video = make(9.0)
    reader = ClipReader(8, 4, window, stride, takes_clips=takes_clips)
    rows, levels, note = rows_of(reader, video)
    expected, start = [], 0.0
    while start + window <= video.duration + 0.5 / video.fps:
        times = [start + (i + 0.5) * window / 4 for i in range(4)]
        expected.append(
            [max(n for n, shown in enumerate(video.shown) if shown <= t + 1e-9) for t in times]
        )
        start = (len(expected)) * (stride or window)
    assert len(expected) > 2
    assert [list(row.frames) for row in rows] == expected == levels
    assert [list(row.times) for row in rows] == [video.times_of(ids) for ids in expected]
    assert note == ''
    assert video.decoded.max() == 1


def test_overlapping_windows_share_frames():
    reader = ClipReader(8, 8, 2.0, 1.0)
    pieces = list(reader(steady(60)))
    assert sum(len(piece.units) for piece in pieces) == 240
    assert max(len(piece.units) for piece in pieces) == 16


def test_only_frames_of_a_window_are_kept():
    reader, video = ClipReader(8, 8, 2.0, 1.0, takes_clips=True), steady(60)
    reading = _Reading(reader, video, reader._rows_of(video)[0])
    assert max(len(reading._kept) for _ in reading) <= 8


def test_whole_video_is_one_row_of_evenly_spaced_frames():
    (row,), (levels,), note = rows_of(ClipReader(8, 4), steady(4.0))
    assert levels == list(row.frames) == [5, 15, 25, 35]
    assert row.times == (0.5, 1.5, 2.5, 3.5) and note == ''


def test_short_video_is_one_row_with_a_note():
    (row,), (levels,), note = rows_of(ClipReader(8, 4, 2.0), steady(0.2))
    assert levels == list(row.frames) == [0, 0, 1, 1]
    assert note == 'a video of 0.20 s, shorter than the window of 2 s'


def test_windows_with_damaged_frames_are_left_out_and_counted():
    reader = ClipReader(8, 2, 1.0)
    _, levels, note = rows_of(reader, steady(5.0, bad=[17, 43]))
    assert levels == [[2, 7], [22, 27], [32, 37], [42, 47]]
    assert note == "1 of 5 rows can't be read: Frame 17 is damaged."
    _, levels, note = rows_of(reader, steady(5.0, bad=[17, 42]))
    assert levels == [[2, 7], [22, 27], [32, 37]]
    assert note.startswith("2 of 5 rows can't be read")


@pytest.mark.parametrize('per_frame', [False, True])
@pytest.mark.parametrize('make', [steady, variable])
def test_spans_together_have_the_rows_of_the_whole(make, per_frame):
    reader = ClipReader(8, 4, 2.0, 0.7, per_frame=per_frame)
    whole = [row[1:] for piece in reader(make(9.0)) for row in piece.rows]
    spans = [Span(0.0, 2.5), Span(2.5, 3.0), Span(3.0, 8.0), Span(8.0, np.inf)]
    parts = [row[1:] for span in spans for piece in reader(make(9.0), span) for row in piece.rows]
    assert parts == whole and len(whole) > 8


def test_note_of_a_short_video_is_in_its_first_span():
    notes = [list(ClipReader(8, 4, 2.0)(steady(0.5), Span(t, t + 1)))[-1].note for t in (0, 1)]
    assert 'shorter than the window' in notes[0] and notes[1] == ''


def test_video_of_damaged_frames_is_an_error():
    with pytest.raises(DataError, match='Frame 5 is damaged'):
        list(ClipReader(8, 1, 1.0)(steady(3.0, bad=[5, 15, 25])))


def test_file_is_decoded_once_and_cropped(demo_data, monkeypatch):
    path = str(next((demo_data / 'videos').rglob('*.mp4')))
    sent, packets = [], PyavVideo._packets

    def count(self):
        for packet in packets(self):
            if packet.size:
                sent.append(packet)
            yield packet

    monkeypatch.setattr(PyavVideo, '_packets', count)
    with open_video(path) as video:
        num_packets = len(sent)
        sent.clear()
        reader = ClipReader(32, 8, window=0.4, stride=0.1)
        units = np.concatenate([piece.units for piece in reader(video) if len(piece.units)])
    assert len(sent) <= 1.05 * num_packets
    with open_video(path) as video:
        ids = np.unique(reader._rows_of(video)[0])
        frames = [CenterCrop(32).crop(video.frames([int(i)])[0]) for i in ids]
    assert np.array_equal(units[:, 0], np.stack(frames).transpose(0, 3, 1, 2))


def test_pictures_in_memory_are_read_as_files_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / 'a.png')
    reader = ClipReader(16, 4)
    sources = (pixels, picture, torch.from_numpy(pixels).permute(2, 0, 1), tmp_path / 'a.png')
    read = [next(reader(source)).units for source in sources]
    assert read[0].shape == (1, 1, 3, 16, 16)
    assert all(np.array_equal(units, read[0]) for units in read)


def test_frames_in_memory_are_a_video_without_times():
    pixels = (
        np.arange(8, dtype=np.uint8)[:, None, None, None].repeat(9, 1).repeat(9, 2).repeat(3, 3)
    )
    for source in (pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2)):
        piece, _ = ClipReader(8, 4)(source)
        assert piece.units[:, 0, 0, 0, 0].tolist() == [1, 3, 5, 7]
        assert piece.rows[0].times == ()
    with pytest.raises(DataError, match='have no times, which `window` needs'):
        list(ClipReader(8, 4, 1.0)(pixels))


@pytest.mark.parametrize(
    'wrong',
    [
        7,
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 4), np.uint8),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(3, 4, 4),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_other_input_is_refused(wrong):
    with pytest.raises(DataError, match=', got '):
        as_frames(wrong)


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (dict(num_frames=0), 'num_frames'),
        (dict(num_frames=4, window=0), 'window'),
        (dict(num_frames=4, window=1, stride=-1), 'stride'),
        (dict(num_frames=4, stride=1), 'stride'),
    ],
)
def test_impossible_windows_are_refused(options, name):
    with pytest.raises(ValueError, match=f'`{name}`'):
        ClipReader(8, **options)
