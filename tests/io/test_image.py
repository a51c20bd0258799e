# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images of many kinds, generated and from real sources: read correctly, or refused with the reason."""

import csv
import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from vicmae.datasets import LoadImage, PackViews, TwoViews
from vicmae.errors import DataError
from vicmae.io.image import REDUCTIONS, EncodedImage, plain_jpeg_size

# pytest has filters of its own, see the console's test
pytestmark = pytest.mark.filterwarnings('ignore')
ROOT = Path(__file__).parents[2]
ODD = ROOT / '../shared/data/odd_files'
needs_odd_files = pytest.mark.skipif(
    not ODD.is_dir(), reason=f'needs the odd files in {ODD.name}, which are optional'
)


def smooth(size=(48, 32)):
    """Makes an image that every orientation changes, and that JPEG hardly changes."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = [x * 255, y * 255, 255 * (x - 1) ** 2 * y]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def noise(size=(48, 32)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode(data, **kwargs):
    image = EncodedImage(data, 'a')
    pixels = image.decode(**kwargs)
    if not kwargs:
        assert pixels.shape == (image.height, image.width, 3)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable
    return pixels


def difference(pixels, others):
    return np.abs(pixels.astype(int) - np.asarray(others).astype(int)).max()


def refusal(source, name=None):
    """Returns why an image is refused, without the beginning of the message."""
    with pytest.raises(DataError) as caught:
        EncodedImage(source, name).decode()
    message = str(caught.value)
    start = f"Can't read the image {name or source!r}: "
    assert message.startswith(start) and message.endswith('.') and '\n' not in message
    return message.removeprefix(start)


# ------------------------------------------------------------------------- odd files from the wild
def odd_images():
    if not ODD.is_dir():
        return []
    rows = csv.DictReader((ODD / 'MANIFEST.csv').read_text(encoding='utf-8').splitlines())
    return [(row['file'], row['expected']) for row in rows if row['read_as'] == 'image']


@needs_odd_files
@pytest.mark.parametrize(('file', 'expected'), odd_images() or [('', '')])
def test_unusual_image_is_read_or_refused_as_expected(file, expected):
    path = str(ODD / file)
    if expected == 'error':
        assert refusal(path)
    else:
        assert decode(Path(path).read_bytes()).size


@needs_odd_files
@pytest.mark.parametrize('orientation', [5, 6, 8])
def test_photo_is_upright_for_every_orientation(orientation):
    upright = decode((ODD / 'image/landscape_exif_1.jpg').read_bytes())
    turned = decode((ODD / f'image/landscape_exif_{orientation}.jpg').read_bytes())
    assert np.corrcoef(upright.ravel(), turned.ravel())[0, 1] > 0.98  # 0.2 upside down


@needs_odd_files
def test_reading_prints_nothing():
    code = f"""
        import glob, io, runpy
        from PIL import Image
        from vicmae.errors import DataError
        # Without what the package around it imports, which takes seconds.
        EncodedImage = runpy.run_path('vicmae/io/image.py')['EncodedImage']
        for path in sorted(glob.glob({str(ODD / 'image/*')!r})):
            with open(path, 'rb') as file:
                data = file.read() + b' '  # OpenCV, which such JPEGs are kept from, tells of skipped bytes
            try:
                EncodedImage(data).decode()
            except DataError:
                pass
        buffer = io.BytesIO()
        Image.new('1', (10_000, 9_500)).save(buffer, 'PNG')  # where Pillow warns, but reads
        assert EncodedImage(buffer.getvalue()).width == 10_000
        try:
            EncodedImage({tiff(bytes(99), samples=99)!r})  # of which Pillow writes into its log
        except DataError:
            pass
        """
    code = '\n'.join(line[8:] for line in code.splitlines())
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


# ------------------------------------------------------------------------- orientation
ORIENTED = {  # by format: how it is saved
    'PNG': {},
    'WEBP': dict(lossless=True),
    'TIFF': {},
    'JPEG': dict(quality=100, subsampling=0),
    'AVIF': dict(quality=100, subsampling='4:4:4'),
}


def lying(upright, orientation):
    """Returns the stored pixels of an image with this orientation."""
    inverse = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE'}
    inverse |= {6: 'ROTATE_90', 7: 'TRANSVERSE', 8: 'ROTATE_270'}
    if orientation == 1:
        return upright
    return upright.transpose(Image.Transpose[inverse[orientation]])


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('file_format', ORIENTED)
def test_image_is_upright_and_its_size_is_known_before_decoding(file_format, orientation):
    upright, options = smooth(), ORIENTED[file_format]
    data = encoded(lying(upright, orientation), file_format, exif=exif(orientation), **options)
    assert Image.open(io.BytesIO(data)).getexif().get(0x0112, 1) == orientation
    assert difference(decode(data), upright) <= (8 if file_format in ('JPEG', 'AVIF') else 0)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('size', [(9, 1), (1, 9), (1, 1)])
def test_rotated_image_of_one_pixel_width_becomes_two_views(size, orientation):
    data = encoded(lying(smooth(size), orientation), 'PNG', exif=exif(orientation))
    crop = dict(type='RandomResizedCrop', size=4)
    steps = [LoadImage(), TwoViews([crop]), PackViews()]
    sample = dict(path='a.png', media=data, rng=np.random.default_rng(0))
    for step in steps:
        sample = step(sample)
    assert [tuple(view.shape) for view in sample['inputs']] == [(3, 4, 4)] * 2
    assert difference(decode(data), smooth(size)) == 0


def test_orientation_after_the_pixels_of_a_png_is_found():
    data = encoded(lying(smooth(), 6), 'PNG', exif=exif(6))
    start = data.index(b'eXIf') - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], 'big')]
    end = data.index(b'IEND') - 4
    moved = data[:start] + data[start + len(chunk) : end] + chunk + data[end:]
    assert difference(decode(moved), smooth()) == 0


def test_invalid_orientation_is_ignored():
    for orientation in (0, 9, 65535):
        data = encoded(smooth(), 'PNG', exif=exif(orientation))
        assert difference(decode(data), smooth()) == 0


@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP'])
def test_broken_exif_is_ignored(file_format):
    blocks = [b'Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03', b'Exif\0\0MM\0', b'Exif\0\0rubbish']
    for block in blocks:
        data = encoded(smooth(), file_format, exif=block)
        assert np.abs(decode(data).astype(int) - np.asarray(smooth())).mean() < 8


# ------------------------------------------------------------------------- JPEGs, whole and reduced
JPEGS = {
    'colour': dict(image=noise((203, 101)), quality=85),
    'full chroma': dict(image=noise((203, 101)), quality=95, subsampling=0),
    'progressive': dict(image=noise((203, 101)), quality=75, progressive=True),
    'gray': dict(image=noise((203, 101)).convert('L'), quality=85),
    'turned': dict(image=noise((203, 101)), quality=85, exif=exif(6)),
}


@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize('kind', JPEGS)
def test_both_decoders_of_jpegs_agree(kind, reduction):
    options = dict(JPEGS[kind])
    data = encoded(options.pop('image'), 'JPEG', **options)
    # Behind the end nothing counts, but it is not the end that OpenCV is trusted with.
    opencv, pillow = (decode(d, reduction=reduction) for d in (data, data + b'\0'))
    assert opencv.shape == pillow.shape
    assert difference(opencv, pillow) <= 2


@pytest.mark.parametrize('reduction', REDUCTIONS)
def test_reduced_jpeg_is_a_smaller_version_rounded_up(reduction):
    data = encoded(smooth((203, 101)), 'JPEG', quality=95, exif=exif(6))
    image = EncodedImage(data)
    assert (image.height, image.width) == (203, 101)
    pixels = image.decode(reduction=reduction)
    assert pixels.shape == (-(-203 // reduction), -(-101 // reduction), 3)
    upright = Image.fromarray(image.decode())
    assert difference(pixels, upright.resize(pixels.shape[1::-1], Image.Resampling.BOX)) <= 12


@pytest.mark.parametrize('ending', [b'', b'\0'])
@pytest.mark.parametrize('size', [(1, 1), (1, 300), (7, 9)])
def test_image_smaller_than_the_reduction_is_not_reduced(size, ending):
    data = encoded(smooth(size), 'JPEG')
    assert decode(data + ending, reduction=8).shape == (size[1], size[0], 3)


def test_only_jpegs_are_reduced_by_allowed_factors():
    assert decode(encoded(smooth(), 'PNG'), reduction=8).shape == (32, 48, 3)
    with pytest.raises(ValueError, match=r'must be one of \(1, 2, 4, 8\), got 3'):
        EncodedImage(encoded(smooth(), 'JPEG')).decode(reduction=3)


# ------------------------------------------------------------------------- colours
@pytest.mark.parametrize('file_format', ['PNG', 'TIFF', 'PPM', 'BMP', 'JPEG2000', 'TGA'])
def test_lossless_image_is_read_exactly(file_format):
    image = EncodedImage(encoded(noise(), file_format), 'a.tga')
    assert difference(image.decode(), noise()) == 0


def test_gray_and_1_bit_images_have_equal_channels():
    gray = noise().convert('L')
    for image in (gray, gray.convert('1')):
        expected = np.repeat(np.asarray(image.convert('L'))[..., None], 3, axis=2)
        assert difference(decode(encoded(image, 'PNG')), expected) == 0


def test_palette_image_has_its_true_colours():
    image = noise().convert('P', palette=Image.Palette.ADAPTIVE)
    for file_format in ('PNG', 'GIF', 'TIFF', 'BMP'):
        assert difference(decode(encoded(image, file_format)), image.convert('RGB')) == 0


def flat(*values, mode):
    return Image.new(mode, (16, 16), values)


def is_flat(pixels, colour, tolerance=0):
    return difference(pixels, np.broadcast_to(colour, pixels.shape)) <= tolerance


def test_cmyk_jpeg_has_its_true_colours():
    cyan_and_black = flat(255, 0, 0, 128, mode='CMYK')
    assert is_flat(decode(encoded(cyan_and_black, 'JPEG', quality=95)), (0, 127, 127), 3)
    assert is_flat(decode(encoded(cyan_and_black, 'TIFF')), (0, 127, 127), 1)


def test_ycck_jpeg_has_its_true_colours():
    # As Adobe stores it: luma and chroma of the inks, and black inverted. Pillow inverts what it saves.
    inks = flat(255 - 200, 255 - 40, 255 - 60, mode='RGB').convert('YCbCr').getpixel((0, 0))
    planes = [255 - value for value in (*inks, 255 - 128)]
    data = bytearray(encoded(flat(*planes, mode='CMYK'), 'JPEG', quality=98))
    adobe = data.index(b'Adobe')
    assert data[adobe + 11] == 0
    data[adobe + 11] = 2  # says YCCK
    expected = np.array([200, 40, 60]) * (255 - 128) / 255
    assert is_flat(decode(bytes(data)), expected.round(), 4)


def test_lab_image_has_its_true_colours():
    lab, srgb = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
    image = ImageCms.profileToProfile(smooth(), srgb, lab, outputMode='LAB')
    error = np.abs(decode(encoded(image, 'TIFF')).astype(int) - np.asarray(smooth()))
    assert error.mean() < 3 and error.max() < 50  # 8 bits are coarse where colours are strong


@pytest.mark.parametrize(
    ('image', 'seen'),
    [
        (flat(200, 10, 30, 0, mode='RGBA'), (255, 255, 255)),
        (flat(200, 10, 30, 255, mode='RGBA'), (200, 10, 30)),
        (flat(200, 10, 30, 51, mode='RGBA'), (244, 206, 210)),  # a fifth of it, four of white
        (flat(0, 0, mode='LA'), (255, 255, 255)),
        (flat(0, 204, mode='LA'), (51, 51, 51)),
    ],
)
def test_transparent_pixels_become_white(image, seen):
    assert is_flat(decode(encoded(image, 'PNG')), seen)
    if image.mode == 'RGBA':
        assert is_flat(decode(encoded(image, 'WEBP', lossless=True, exact=True)), seen)


def test_transparent_colour_becomes_white():
    cases = [
        (flat(9, 9, 9, mode='RGB'), (9, 9, 9), 'PNG'),
        (flat(9, mode='L'), 9, 'PNG'),
        (flat(9, mode='I;16'), 9, 'PNG'),
        (flat(1, mode='P'), 1, 'GIF'),
        (flat(1, mode='P'), b'\xff\x00', 'PNG'),
    ]
    for image, transparent, file_format in cases:
        if image.mode == 'P':
            image.putpalette([1, 2, 3, 200, 100, 50])
        assert is_flat(decode(encoded(image, file_format, transparency=transparent)), 255), image
        assert not is_flat(decode(encoded(image, file_format)), 255), image


# ------------------------------------------------------------------------- more than 8 bits
ALL_LEVELS = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def tiff(levels, bits=16, photometric=1, kind=1, samples=1):
    """An uncompressed gray TIFF of one row, with the tags that Pillow doesn't write."""
    data = levels if isinstance(levels, bytes) else levels.tobytes()
    width = len(data) * 8 // bits
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: samples, 278: 1}
    tags |= {279: len(data), 339: kind}
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack('<2sHI', b'II', 42, 8 + len(data))
    return start + data + struct.pack('<H', len(tags)) + entries + bytes(4)


def gray_of(data):
    pixels = decode(data)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def test_16_bit_levels_are_scaled_and_not_clipped():
    image = Image.fromarray(ALL_LEVELS)
    expected = (ALL_LEVELS / 257).round()
    for data in (
        encoded(image, 'PNG'),
        encoded(image, 'TIFF'),
        encoded(image, 'TIFF', compression='tiff_lzw', big_endian=True),
        b'P5 256 256 65535 ' + ALL_LEVELS.astype('>u2').tobytes(),
    ):
        assert difference(gray_of(data), expected) == 0


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        # 12 bits: 0, 2048 and 4095 and a half of white
        (tiff(bytes.fromhex('000800fff800'), bits=12), [0, 128, 255, 128]),
        (tiff(np.uint16([0, 25700, 65535]), photometric=0), [255, 155, 0]),
        (tiff(np.int16([-1000, 0, 1000]), kind=2), [0, 128, 255]),
        (tiff(np.int32([0, 25700, 65535]), bits=32, kind=2), [0, 100, 255]),
        (tiff(np.int32([-100, 100_000, 399_900]), bits=32, kind=2), [0, 64, 255]),
        (tiff(np.float32([0, 0.2, 1]), bits=32, kind=3), [0, 51, 255]),
        (tiff(np.float32([0, 1.4, 200]), bits=32, kind=3), [0, 1, 200]),
        (tiff(np.float32([-1, 0, 3]), bits=32, kind=3), [0, 64, 255]),
        (tiff(np.float32([1e30, 3e30, 2e30]), bits=32, kind=3), [0, 255, 128]),
        (tiff(np.float32([np.nan, 0.2, np.inf, -np.inf]), bits=32, kind=3), [0, 51, 255, 0]),
        (tiff(np.float32([np.nan, np.nan]), bits=32, kind=3), [0, 0]),
        (tiff(np.float32([-7, -7]), bits=32, kind=3), [0, 0]),
    ],
)
def test_levels_of_other_types_are_scaled_by_the_rules(data, expected):
    assert gray_of(data).tolist() == [expected]


# ------------------------------------------------------------------------- several frames
@pytest.mark.parametrize('file_format', ['GIF', 'WEBP', 'PNG', 'TIFF', 'AVIF', 'MPO'])
def test_first_frame_of_several_is_read(file_format):
    frames = [flat(250, 20, 20, mode='RGB'), flat(20, 20, 250, mode='RGB')]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert is_flat(decode(data), (250, 20, 20), 4)


# ------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize('options', [dict(), dict(progressive=True), dict(subsampling=0)])
def test_truncated_jpeg_is_refused(options):
    data = encoded(noise(), 'JPEG', quality=90, **options)
    start = data.index(b'\xff\xda')
    for end in range(0, len(data) - 2, 37):
        reason = refusal(data[:end], 'a')
        assert end < start or 'truncated' in reason


@pytest.mark.parametrize('file_format', ['PNG', 'GIF', 'TIFF', 'WEBP', 'BMP', 'PPM', 'AVIF'])
def test_other_truncated_images_are_refused(file_format):
    data = encoded(noise(), file_format)
    for part in (0.1, 0.5, 0.9):
        assert refusal(data[: int(part * len(data))], 'a')


def png_header(width, height):
    header = struct.pack('>4sIIBBBBB', b'IHDR', width, height, 8, 2, 0, 0, 0)
    data = struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    return b'\x89PNG\r\n\x1a\n' + data + bytes(4) + b'IDAT' + struct.pack('>I', zlib.crc32(b'IDAT'))


@pytest.mark.parametrize('size', [(48, 32), (200, 300)])
def test_png_with_a_flipped_bit_in_its_picture_is_refused(size):
    data = encoded(noise(size), 'PNG')
    begin, end = data.index(b'IDAT') + 4, data.rindex(b'IEND') - 8
    for place in np.linspace(begin, end - 1, 20).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 4
        refusal(bytes(damaged), 'a.png')
    damaged = bytearray(data)
    damaged[end] ^= 1  # of the checksum alone
    assert 'is damaged (wrong checksum)' in refusal(bytes(damaged), 'a.png')


def test_png_with_a_damaged_text_chunk_is_read():
    data = encoded(smooth(), 'PNG')
    end = data.index(b'IEND') - 4
    text = struct.pack('>I', 4) + b'tEXt' + b'a\0bc' + b'0000'  # the last is no checksum
    assert difference(decode(data[:end] + text + data[end:]), smooth()) == 0


def test_huge_image_is_refused_by_its_number_of_pixels():
    reason = refusal(png_header(100_000, 20_000), 'a')
    assert '2000000000 pixels' in reason and 'limit of 178956970' in reason


def test_error_says_what_the_file_is():
    assert refusal(b'', 'a') == 'it is empty.'
    heic = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(99)
    assert refusal(heic, 'a').startswith('it is HEIC, which the installed Pillow')
    page = refusal(b'<html>404 Not Found</html>', 'a')
    assert page == "its format is unknown to Pillow; it begins with b'<html>404 Not Found</htm'."


def test_targa_is_detected_by_name_and_eps_is_refused():
    data = encoded(smooth(), 'TGA')
    assert EncodedImage(data, 'a.TGA').decode().shape == (32, 48, 3)
    for other, name in ((data, 'a.dat'), (encoded(smooth(), 'EPS'), 'a.eps')):
        assert 'format is unknown to Pillow' in refusal(other, name)


def test_wrong_extension_does_not_matter(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(encoded(smooth(), 'WEBP', lossless=True))
    assert difference(EncodedImage(str(path)).decode(), smooth()) == 0


def test_missing_file_and_folder_or_pipe_are_refused(tmp_path):
    assert refusal(str(tmp_path / 'no.jpg')) == 'No such file or directory.'
    os.mkfifo(tmp_path / 'pipe.jpg')  # to open it would wait for ever
    for path in (tmp_path, tmp_path / 'pipe.jpg'):
        assert refusal(str(path)) == 'it is not a regular file.'


def test_no_file_stays_open(tmp_path):
    good, large, bad = (tmp_path / name for name in ('a.png', 'b.bmp', 'c.jpg'))
    good.write_bytes(encoded(smooth(), 'PNG'))
    Image.new('RGB', (5000, 5000), (1, 2, 3)).save(large)  # more than is read at once
    bad.write_bytes(encoded(smooth(), 'JPEG')[:-50])
    before = os.listdir('/proc/self/fd')
    image = EncodedImage(str(good))
    large_image = EncodedImage(str(large))
    assert len(os.listdir('/proc/self/fd')) == len(before)
    assert image.decode().shape == (32, 48, 3)
    assert is_flat(large_image.decode()[::99, ::99], (1, 2, 3))
    refusal(str(bad))
    assert len(os.listdir('/proc/self/fd')) == len(before)


def test_image_decodes_equally_twice():
    image = EncodedImage(encoded(noise(), 'JPEG') + b'\0')
    whole, reduced = image.decode(), image.decode(reduction=2)
    assert np.array_equal(image.decode(), whole)
    assert np.array_equal(image.decode(reduction=2), reduced)


# ------------------------------------------------------------------------- fuzz
FUZZED = {
    'JPEG': dict(quality=80, exif=exif(6)),
    'PNG': dict(exif=exif(3)),
    'GIF': {},
    'TIFF': dict(compression='tiff_lzw'),
    'WEBP': dict(lossless=True),
    'BMP': {},
    'PPM': {},
    'JPEG2000': {},
    'AVIF': {},
    'ICO': {},
    'TGA': dict(compression='tga_rle'),
    'PSD': None,
}


@pytest.mark.parametrize('file_format', FUZZED)
def test_damaged_data_raise_nothing_but_data_errors(file_format):
    options = FUZZED[file_format]
    if options is None:
        if not ODD.is_dir():
            pytest.skip(f'needs the odd files in {ODD.name}, which are optional')
        data = (ODD / 'image/psd.psd').read_bytes()
    else:
        data = encoded(noise((24, 20)), file_format, **options)
    chance = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data[: chance.choice([len(data), chance.randrange(len(data))])])
        for _ in range(chance.randrange(1, 6)):
            # Half of the flips among the first bytes, where the headers are.
            place = chance.randrange(chance.choice([len(data), 200]))
            damaged[place % max(1, len(damaged)) : place + 1] = bytes([chance.randrange(256)])
        try:
            EncodedImage(bytes(damaged), 'a.tga').decode(chance.choice(REDUCTIONS))
        except DataError:
            refused += 1
    assert refused > 20


# ------------------------------------------------------------------- JPEGs without metadata
@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(comment=b'hello')])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_size_of_a_plain_jpeg_is_read_without_pillow(mode, options, monkeypatch):
    data = encoded(Image.new(mode, (37, 21), 'white'), 'JPEG', **options)
    assert plain_jpeg_size(data) == (21, 37)
    monkeypatch.setattr(Image, 'open', None)
    assert EncodedImage(data).decode().shape == (21, 37, 3)


def test_jpeg_with_metadata_or_other_channels_or_damage_is_read_by_pillow():
    for mode, options in [('RGB', dict(exif=exif(6))), ('CMYK', {})]:
        assert plain_jpeg_size(encoded(Image.new(mode, (37, 21)), 'JPEG', **options)) is None
    whole = encoded(Image.new('RGB', (37, 21)), 'JPEG')
    assert plain_jpeg_size(whole) == (21, 37)
    for end in range(len(whole)):
        assert plain_jpeg_size(whole[:end]) is None
    rng = np.random.default_rng(0)
    for _ in range(3000):  # never an exception, never a loop without end
        torn = bytearray(whole)
        for place in rng.integers(2, len(whole) - 2, size=3):
            torn[place] = rng.integers(256)
        plain_jpeg_size(bytes(torn))
