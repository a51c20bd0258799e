# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vicmae.data_tools.packing import recoding
from vicmae.data_tools.packing.recoding import (
    CopyImages,
    CopyVideos,
    ShrinkImages,
    VideosAsJpeg,
    VideosAsMp4,
    choose_recipe,
)
from vicmae.errors import ConfigError, DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import open_video

from ..toy_video import ToyVideo

SHARED = Path(__file__).parents[3] / '../shared/data'
REAL = SHARED / 'real_mini/videos/unlabelled'
ODD = SHARED / 'odd_files'
ODD_VIDEOS = [
    *('phone_hevc_rotated_vfr.mov', 'rotation_180.mov', 'h264_10bit.mp4', 'derived_gray.mp4'),
    *('full_range_bt709.mp4', 'vp9_odd_size.webm', 'h264_many_streams.mp4'),
]
needs_real_files = pytest.mark.skipif(not REAL.is_dir(), reason='real clips are not at hand')


def known(path, **rest):
    return dict(path=str(path), gt_label=-1, **rest)


def decode(file):
    """Frames and their times, by the presentation times in the file."""
    with av.open(file) as container:
        stream = container.streams.video[0]
        frames = [
            (float(f.pts * f.time_base), f.to_ndarray(format='rgb24'))
            for f in container.decode(stream)
        ]
    return [time - frames[0][0] for time, _ in frames], [frame for _, frame in frames]


def packets(encoded):
    """Of a file: (presentation time, decoding time, is a key frame) of each packet."""
    with av.open(io.BytesIO(encoded)) as container:
        return [
            (p.pts, p.dts, p.is_keyframe) for p in container.demux(video=0) if p.pts is not None
        ]


def psnr(a, b):
    error = np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def draw_video(path, levels, times, size=(64, 48)):
    """Writes frames of one gray level each, at times in milliseconds."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264')
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for level, time in zip(levels, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), level, np.uint8), 'rgb24')
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ------------------------------------------------------------------------------- mp4
@needs_real_files
@pytest.mark.parametrize('name', ['nofi042.mp4', 'nofi139.mp4'])
def test_packed_clip_shows_the_same_at_the_same_times(name):
    made = VideosAsMp4()(known(REAL / name))
    times, frames = decode(str(REAL / name))
    packed_times, packed_frames = decode(io.BytesIO(made.members['mp4']))
    assert made.num_frames == len(frames)
    np.testing.assert_allclose(packed_times, times, atol=1e-3)
    assert min(map(psnr, packed_frames, frames)) > 30
    # Not only alike on the whole: each frame is closest to its own original, not to a neighbour of that.
    moving = max(range(1, len(frames) - 1), key=lambda i: -psnr(frames[i], frames[i + 1]))
    nearest = max(range(len(frames)), key=lambda i: psnr(packed_frames[moving], frames[i]))
    assert nearest == moving


@needs_real_files
def test_key_frames_are_regular_and_groups_are_closed():
    for gop in (12, 5, 1):
        made = VideosAsMp4(gop=gop)(known(REAL / 'nofi042.mp4'))
        found = packets(made.members['mp4'])
        assert [number for number, (*_, key) in enumerate(found) if key] == list(
            range(0, made.num_frames, gop)
        )
        assert [pts for pts, *_ in found] == sorted(pts for pts, *_ in found)  # no B-frames
        assert made.num_key_frames == len(range(0, made.num_frames, gop))


def test_there_is_one_video_stream_of_8_bits_and_a_known_matrix(demo_data):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    with av.open(io.BytesIO(VideosAsMp4()(known(clip)).members['mp4'])) as container:
        assert [stream.type for stream in container.streams] == ['video']
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ('h264', 'yuv420p')
        assert (int(context.colorspace), int(context.color_range)) == (5, 1)  # BT.601, 16 to 235


def test_frames_of_a_variable_rate_stay_at_their_times(tmp_path):
    # Half a second at 8 frames/s, half a second at 40: 24 frames in a second.
    times = [*range(0, 500, 125), *range(500, 1000, 25)]
    levels = np.linspace(30, 220, len(times)).round().astype(int)
    path = draw_video(tmp_path / 'variable.mkv', levels, times)
    made = VideosAsMp4()(known(path))
    packed_times, frames = decode(io.BytesIO(made.members['mp4']))
    assert abs(packed_times[-1] - 0.96) < 0.05  # the speed is the same
    np.testing.assert_allclose(np.diff(packed_times), np.diff(packed_times)[0], atol=2e-3)
    shown = [frame.mean() for frame in frames]
    # What is shown in the middle of each frame's time, by the times in the original.
    middle = np.add(packed_times, np.diff(packed_times)[0] / 2) * 1000
    expected = levels[np.searchsorted(times, middle, side='right') - 1]
    np.testing.assert_allclose(shown, expected, atol=9)  # one frame more or less at a change


@needs_real_files
@pytest.mark.parametrize('name', ODD_VIDEOS)
def test_unusual_video_is_packed_as_readers_decode_it(name):
    path = str(ODD / 'video' / name)
    made = VideosAsMp4(short_side=64, crf=12, preset='ultrafast')(known(path))
    with open_video(path) as original, open_video(made.members['mp4']) as packed:
        assert packed.num_frames == made.num_frames == original.num_frames
        assert abs(packed.fps - original.fps) < 1e-3
        assert abs(packed.width / packed.height - original.width / original.height) < 0.03
        times = (np.linspace(0.1, 0.9, 3) * original.num_frames / original.fps).tolist()
        for a, b in zip(original.frames_at(times), packed.frames_at(times), strict=True):
            a = Image.fromarray(a).resize(b.shape[1::-1], Image.Resampling.BICUBIC)
            b = Image.fromarray(b)
            difference = np.asarray(a.convert('L'), float) - np.asarray(b.convert('L'), float)
            assert abs(difference).mean() < 3
            colours = np.asarray(a, float).mean((0, 1)) - np.asarray(b, float).mean((0, 1))
            assert abs(colours).max() < 3  # decoders round down


def test_rate_may_be_low(tmp_path):
    path = draw_video(tmp_path / 'day.mkv', [50, 200, 100], [0, 3_600_000, 7_200_000])
    made = VideosAsMp4()(known(path))
    times, frames = decode(io.BytesIO(made.members['mp4']))
    np.testing.assert_allclose(times, [0, 3600, 7200], rtol=1e-3)
    np.testing.assert_allclose([frame.mean() for frame in frames], [50, 200, 100], atol=3)


def test_sides_are_even_and_never_larger(tmp_path):
    levels, times = [100] * 3, [0, 40, 80]
    for size, short_side, expected in [
        ((64, 48), 256, (48, 64)),
        ((64, 48), 24, (24, 32)),
        ((100, 34), 32, (32, 94)),
        ((34, 100), 16, (48, 16)),
    ]:
        path = draw_video(tmp_path / f'{size}{short_side}.mp4', levels, times, size)
        made = VideosAsMp4(short_side=short_side)(known(path))
        assert (made.height, made.width) == expected
        with open_video(made.members['mp4']) as packed:
            assert (packed.height, packed.width) == expected


def test_long_video_is_decoded_in_parts_to_the_same_bytes(demo_data, monkeypatch):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    whole = [recipe(known(clip)).members for recipe in (VideosAsMp4(), VideosAsJpeg(fps=7))]
    asked = []
    monkeypatch.setattr(recoding, 'restart_deadline', lambda: asked.append(1))
    monkeypatch.setattr(recoding, '_MAX_DECODED_BYTES', 5 * 3 * 80 * 80)
    parts = [recipe(known(clip)).members for recipe in (VideosAsMp4(), VideosAsJpeg(fps=7))]
    assert parts == whole
    assert len(asked) > 4  # it is not taken for hung as long as parts come


def test_lower_quality_and_slower_decoding_make_smaller_files(demo_data):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    sizes = [len(VideosAsMp4(crf=crf)(known(clip)).members['mp4']) for crf in (35, 23, 15)]
    assert sizes == sorted(sizes)
    assert len(VideosAsMp4(tune='none')(known(clip)).members['mp4']) < sizes[1]


# ------------------------------------------------------------------------------- JPEG frames
@needs_real_files
def test_jpeg_frames_are_the_original_ones_at_the_rate():
    path = REAL / 'nofi042.mp4'  # 60 frames, 30 a second
    made = VideosAsJpeg(fps=5)(known(path))
    assert list(made.members) == [f'{number:04d}.jpg' for number in range(10)]
    assert made.notes == dict(fps=5.0)
    _, frames = decode(str(path))
    for number, encoded in enumerate(made.members.values()):
        assert psnr(EncodedImage(encoded).decode(), frames[6 * number]) > 33


def test_no_frame_is_repeated_at_a_low_rate(tmp_path):
    path = draw_video(tmp_path / 'slow.mp4', [50, 100, 150, 200], [0, 250, 500, 750])
    made = VideosAsJpeg(fps=30)(known(path))
    levels = [round(EncodedImage(b).decode().mean(), -1) for b in made.members.values()]
    assert levels == [50, 100, 150, 200]
    assert 3.9 < made.notes['fps'] < 5.4  # by how long the last frame is taken to last


def test_jpeg_frames_are_shrunk_to_the_short_side(demo_data):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    for short_side, expected in [(48, 48), (256, 80), (None, 80)]:
        made = VideosAsJpeg(short_side=short_side)(known(clip))
        sizes = {EncodedImage(encoded).decode().shape for encoded in made.members.values()}
        assert sizes == {(expected, expected, 3)}


# ------------------------------------------------------------------------------- images
def test_image_is_copied_byte_by_byte_after_it_was_decoded(demo_data, tmp_path):
    image = next((demo_data / 'images').rglob('*.jpg'))
    assert CopyImages()(known(image)).members == dict(jpg=image.read_bytes())
    half = tmp_path / 'half.JPG'
    half.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(DataError, match=r"Can't read the image '.*half\.JPG'"):
        CopyImages()(known(half))
    with pytest.raises(DataError, match='No such file'):
        CopyImages()(known(tmp_path / 'none.jpg'))


def test_shrunk_image_is_an_upright_rgb_jpeg_of_the_short_side(tmp_path):
    rows, columns = np.mgrid[:400, :600]
    picture = np.stack([rows * 0.6, columns * 0.4, (rows + columns) * 0.25], axis=2).astype(
        np.uint8
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    modes = {'a.jpg': 'RGB', 'b.jpg': 'CMYK', 'c.png': 'RGBA', 'd.jpg': 'L', 'e.webp': 'RGB'}
    for name, mode in modes.items():
        Image.fromarray(picture).convert(mode).save(tmp_path / name, exif=exif)
        made = ShrinkImages(100)(known(tmp_path / name))
        packed = Image.open(io.BytesIO(made.members['jpg']))
        assert (packed.format, packed.mode, packed.size) == ('JPEG', 'RGB', (100, 150))
        assert (made.height, made.width) == (150, 100)
        assert not packed.getexif()
        original = Image.open(tmp_path / name).convert('RGB').rotate(-90, expand=True)
        expected = original.resize((100, 150), Image.Resampling.BICUBIC)
        assert abs(np.asarray(packed, float) - np.asarray(expected, float)).mean() < 2.5


def test_image_is_not_enlarged(tmp_path):
    Image.new('RGB', (50, 40), 'teal').save(tmp_path / 'small.png')
    made = ShrinkImages(320)(known(tmp_path / 'small.png'))
    assert (made.height, made.width) == (40, 50)
    assert EncodedImage(made.members['jpg']).decode().shape == (40, 50, 3)


def test_reduced_decoding_looks_like_full_decoding(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8))
    noise.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / 'large.jpg', quality=95)
    made = ShrinkImages(100, quality=95)(known(tmp_path / 'large.jpg'))  # decoded at a quarter
    full = Image.open(tmp_path / 'large.jpg').convert('RGB')
    full = full.resize((133, 100), Image.Resampling.BICUBIC)
    assert psnr(EncodedImage(made.members['jpg']).decode(), full) > 40


# ------------------------------------------------------------------------------- copies, bad files
def test_video_is_copied_byte_by_byte_after_it_was_opened(demo_data, tmp_path):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    made = CopyVideos()(known(clip))
    assert made.members == dict(mp4=clip.read_bytes())
    assert (made.height, made.width, made.num_key_frames) == (80, 80, 0)
    (tmp_path / 'text.mp4').write_text('no video')
    for recipe in (CopyVideos(), VideosAsMp4(), VideosAsJpeg()):
        with pytest.raises(DataError, match=r'text\.mp4'):
            recipe(known(tmp_path / 'text.mp4'))


def test_bytes_from_a_shard_are_packed_like_a_file(demo_data):
    image = next((demo_data / 'images').rglob('*.jpg'))
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    for recipe, path in [(ShrinkImages(64), image), (VideosAsMp4(), clip), (VideosAsJpeg(), clip)]:
        in_shard = recipe(dict(path='shard.tar/000000007', media=path.read_bytes()))
        assert in_shard.members == recipe(known(path)).members
    with pytest.raises(DataError, match=r"'shard\.tar/7' does not say what is in it"):
        CopyImages()(dict(path='shard.tar/7', media=image.read_bytes()))


def damaged(bad):
    return known('clip', media=ToyVideo(20, bad))


@pytest.mark.parametrize(
    ('bad', 'shown'),
    [
        ({7}, [*range(7), 6, *range(8, 20)]),
        ({0, 1}, [*range(2, 20)]),
        ({5, 6, 15, 16, 17, 18, 19}, [*range(5), 4, 4, *range(7, 15)]),
        ({*range(20)} - {3}, [3]),
    ],
)
def test_frame_that_cannot_be_decoded_is_left_out(bad, shown):
    def levels(frames):
        return [round(float(frame.mean()) / 10) for frame in frames]

    made = VideosAsJpeg(fps=10)(damaged(bad))
    assert levels(EncodedImage(frame).decode() for frame in made.members.values()) == shown
    made = VideosAsMp4(crf=5)(damaged(bad))
    assert levels(decode(io.BytesIO(made.members['mp4']))[1]) == shown
    assert made.num_frames == len(shown)


def test_damage_costs_few_attempts():
    video = ToyVideo(20, {7})
    VideosAsJpeg(fps=10)(known('clip', media=video))
    assert sum(map(len, video.asked)) < 80  # halving, not one by one after each failure
    for recipe in (VideosAsMp4(), VideosAsJpeg()):
        with pytest.raises(DataError, match="Can't decode"):
            recipe(damaged(range(20)))


def test_encoder_that_loses_frames_is_detected(demo_data, monkeypatch):
    clip = next((demo_data / 'videos').rglob('*.mp4'))
    encode = recoding.encode_mp4

    def lossy(frames, *size, **options):
        encoded, num_frames, num_keys = encode(list(frames)[:-1], *size, **options)
        return encoded, num_frames + 1, num_keys

    monkeypatch.setattr(recoding, 'encode_mp4', lossy)
    with pytest.raises(DataError, match='did not come out of the encoder as it went in'):
        VideosAsMp4()(known(clip))


# ------------------------------------------------------------------------------- choosing
def test_recipe_follows_from_the_options():
    assert choose_recipe('image') == choose_recipe('image', short_side=0) == CopyImages()
    assert choose_recipe('image', short_side=320, quality=80) == ShrinkImages(320, 80)
    assert choose_recipe('video', gop=8, crf=None) == VideosAsMp4(gop=8)
    assert choose_recipe('video', 'jpeg', short_side=0, fps=2.5) == VideosAsJpeg(2.5, None)
    assert choose_recipe('video', 'copy', reader='pyav') == CopyVideos('pyav')


WITH_WHAT = [
    ('video', dict(fps=5), r'`--fps` does nothing for videos with .*mp4`.*`--short-side`, `--gop`'),
    ('video jpeg', dict(gop=5, crf=1), '`--gop`, `--crf` does nothing'),
    ('image', dict(quality=80), 'images that are copied .*Their options: none'),
    ('image mp4', {}, '`--video-as mp4` does nothing'),
    ('image', dict(short_side=8), '`short_side` must be at least 16 pixels, got 8'),
    ('image', dict(short_side=64, quality=100), '`quality` must be between 1 and 95, got 100'),
    ('video', dict(gop=0), '`gop` must be at least 1, got 0'),
    ('video', dict(crf=52), '`crf` must be between 0 and 51, got 52'),
    ('video', dict(preset='quick'), "`preset` must be one of ultrafast, .*, got 'quick'"),
    ('video', dict(tune='film'), "`tune` must be one of fastdecode, none, got 'film'"),
    ('video', dict(reader='av'), "`reader` must be one of auto, .*, got 'av'"),
    ('video copy', dict(reader='av'), "`reader` must be one of auto, .*, got 'av'"),
    ('video jpeg', dict(fps=0.0), '`fps` must be more than 0, got 0.0'),
    ('video jpeg', dict(quality=0), '`quality` must be between 1 and 95, got 0'),
]


@pytest.mark.parametrize(('arguments', 'options', 'message'), WITH_WHAT)
def test_options_without_effect_are_refused(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        choose_recipe(*arguments.split(), **options)
