# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What is shown of a config's samples is what training gets."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vicmae.apis import load_config
from vicmae.apis.train_data import build_train_loader, set_epoch
from vicmae.data_tools.browse import browse, gaps_of_sources
from vicmae.data_tools.browse_page import describe_sizes, gap_text, render_browsed
from vicmae.datasets.transforms.crop import crop_and_resize
from vicmae.io.video import open_video
from vicmae.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
DEBUG = CONFIGS / 'vicmae/vicmae_vit-tiny-p8_debug.py'
OMNIMAE = CONFIGS / 'omnimae/omnimae_vit-tiny-p8_debug.py'
SOURCES = 'train_dataloader.dataset.sources'


@pytest.fixture
def debug(demo_data):
    """Loads the debug config on demo data, with changes."""

    def load(changes=None, config=DEBUG):
        roots = {
            f'{SOURCES}.{kind}.data_root': str(demo_data / kind / 'train')
            for kind in ('images', 'videos')
        }
        cfg = load_config(config, {**roots, **(changes or {})})
        cfg.pop('demo_data')  # they are there
        return cfg

    return load


def on_device(kind, step):
    return {f'{SOURCES}.{kind}.pipeline.{step}.on_device': True}


@pytest.mark.parametrize('epoch', [0, 3])
@pytest.mark.parametrize('changes', [{}, on_device('images', 1) | on_device('videos', 3)])
def test_views_are_those_that_the_model_gets_in_training(debug, changes, epoch):
    cfg = debug(changes)
    shown = browse(cfg, number=8, epoch=epoch)
    assert [len(source.samples) for source in shown] == [4, 4]

    loader = build_train_loader(cfg, num_workers=0)
    set_epoch(loader, epoch)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    batches = [preprocessor(batch, training=True)['inputs'] for batch in loader]
    trained = torch.cat([torch.stack(batch, dim=1) for batch in batches])  # (samples, V, C, H, W)
    trained = preprocessor.denormalize(trained).permute(0, 1, 3, 4, 2).numpy()
    for sample in chain.from_iterable(source.samples for source in shown):
        assert len(sample.views) == 2
        for view, expected in zip(sample.views, trained[sample.place], strict=True):
            np.testing.assert_array_equal(view.view, expected)


def only_crop(lazy):
    crop = dict(type='RandomResizedCrop', size=64, scale=(0.3, 0.5))
    return {
        f'{SOURCES}.images.pipeline.0.lazy': lazy,
        f'{SOURCES}.images.pipeline.1.transforms': [crop],
    }


@pytest.mark.parametrize('lazy', [False, True])
def test_box_is_the_crop_of_the_frame(debug, lazy):
    images, _ = browse(debug(only_crop(lazy)), number=6)
    views = [view for sample in images.samples for view in sample.views]
    for view in views:
        cut = crop_and_resize(view.frame, view.box, (64, 64)).astype(int)
        assert np.abs(view.view - cut).max() <= 1  # normalised and back
    assert len({view.box for view in views}) == len(views)


def test_image_that_is_decoded_at_a_part_of_its_size_is_shown_whole(debug, tmp_path):
    gradient = np.linspace(0, 255, 1200).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(gradient[:900, None], gradient, 99), axis=-1)
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / 'a.jpg', quality=95)
    cfg = debug({**only_crop(lazy=True), f'{SOURCES}.images.data_root': str(tmp_path)})
    images, _ = browse(cfg, number=2)
    for view in images.samples[0].views:
        assert view.frame.shape == (900, 1200, 3)
        cut = crop_and_resize(view.frame, view.box, (64, 64)).astype(int)
        assert np.abs(view.view - cut).mean() < 2


def test_frames_are_those_with_the_numbers_that_are_shown(debug):
    _, videos = browse(debug(), number=4)
    for sample in videos.samples:
        with open_video(sample.path) as video:
            frames = video.frames(sample.frame_ids)
            assert sample.fps == video.fps
        for view, frame in zip(sample.views, frames, strict=True):
            np.testing.assert_array_equal(view.frame, frame)


def test_visible_patches_are_as_many_as_the_encoder_sees_and_unchanged(debug):
    images, videos = browse(debug(), number=4)
    for view in chain.from_iterable(s.views for s in (*images.samples, *videos.samples)):
        patches = view.visible.reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, -1)
        originals = view.view.reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, -1)
        hidden = (patches == 128).all(axis=1)
        assert (~hidden).sum() == 16  # of 64, at a mask ratio of 0.75
        np.testing.assert_array_equal(patches[~hidden], originals[~hidden])


def test_model_without_masking_shows_none(demo_data, debug):
    cfg = debug()
    cfg.model.backbone.pop('masking')
    images, _ = browse(cfg, number=2)
    assert [view.visible for view in images.samples[0].views] == [None, None]


def test_shares_of_a_batch_add_up_and_follow_the_weights(debug):
    weights = 'train_dataloader.dataset.weights'
    images, videos = browse(debug({f'{weights}.images': 3, f'{weights}.videos': 1}), number=2)
    assert np.add(images.shares, videos.shares) == pytest.approx(np.ones(8))
    assert np.mean(images.shares) == pytest.approx(0.75, abs=0.02)


def test_clips_are_shown_as_the_model_gets_them_beside_images(debug):
    changes = on_device('images', 1) | on_device('videos', 3)
    changes |= {f'{SOURCES}.videos.pipeline.1.num_segments': 2}
    cfg = debug({**changes, 'train_dataloader.batch_sampler': None}, config=OMNIMAE)
    images, videos = browse(cfg, number=4)
    assert [len(sample.views) for sample in (*images.samples, *videos.samples)] == [1, 1, 8, 8]

    loader = build_train_loader(cfg, num_workers=0)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    batches = [preprocessor(batch, training=True) for batch in loader]  # of images and clips
    trained = [batch.sample(n) for batch in batches for n in range(len(batch))]
    for sample in videos.samples:
        clips = torch.stack(trained[sample.place]).transpose(1, 2)  # (V, T, C, H, W)
        clips = preprocessor.denormalize(clips).movedim(2, -1).numpy()
        with open_video(sample.path) as video:
            frames = video.frames(sample.frame_ids)
        for number, view in enumerate(sample.views):
            np.testing.assert_array_equal(view.view, clips[number // 4, number % 4])
            np.testing.assert_array_equal(view.frame, frames[number])
            assert view.frame_id == sample.frame_ids[number]
            assert view.box == sample.views[4 * (number // 4)].box
        visible = np.stack([view.visible for view in sample.views]).reshape(2, 4, 8, 8, 8, 8, 3)
        hidden = (visible == 128).all(axis=(3, 5, 6))  # of each clip and frame, (2, 4, 8, 8)
        assert (~hidden).sum(axis=(1, 2, 3)).tolist() == [12, 12]  # of 256, in tubelets of two
        np.testing.assert_array_equal(hidden[:, ::2], hidden[:, 1::2])
    page = render_browsed([images, videos], config='debug', epoch=0, facts={})
    first = videos.samples[0]
    seconds = (first.frame_ids[-1] - first.frame_ids[0]) / first.fps
    assert f'2 clips of 4 frames in {seconds:.2f} s' in page


def test_bad_files_are_named_and_others_shown(debug, demo_data, tmp_path):
    for n, path in enumerate(sorted((demo_data / 'images/train').rglob('*.jpg'))[:6]):
        (tmp_path / f'{n}.jpg').write_bytes(path.read_bytes() if n % 2 else b'<html>404</html>')
    cfg = debug({f'{SOURCES}.images.data_root': str(tmp_path)})
    images, _ = browse(cfg, number=6)
    assert len(images.samples) == 3
    assert {Path(sample.path).name for sample in images.samples} <= {'1.jpg', '3.jpg', '5.jpg'}
    assert {Path(path).name for path in images.bad} <= {'0.jpg', '2.jpg', '4.jpg'}
    assert images.bad
    page = render_browsed([images], config='debug', epoch=0, facts={})
    for path in images.bad:
        assert f'<th scope="row">{path}</th>' in page


def test_source_of_bad_files_alone_does_not_stop_the_others(debug, tmp_path):
    for n in range(3):
        (tmp_path / f'{n}.mp4').write_bytes(b'no video')
    images, videos = browse(debug({f'{SOURCES}.videos.data_root': str(tmp_path)}), number=4)
    assert (len(images.samples), len(videos.samples), len(videos.gaps.seconds)) == (2, 0, 0)
    page = render_browsed([images, videos], config='debug', epoch=0, facts={})
    assert 'None could be shown.' in page
    assert 'No gaps were drawn.' in page
    assert '3 videos could not be opened' in gap_text('videos', videos.gaps)


def test_gap_text_has_the_numbers_of_the_draws(debug):
    gaps = gaps_of_sources(debug())
    assert list(gaps) == ['videos']
    text = gap_text('videos', gaps['videos'])
    assert text.startswith('videos: 1,008 draws of DistantFramePair(')
    assert 'real lengths of 16 videos' in text
    assert f'Mean gap {gaps["videos"].seconds.mean():.2f} s' in text
    assert f'50% {np.median(gaps["videos"].seconds):.2f} s' in text


def test_page_shows_every_sample_with_its_file_and_gap(debug):
    images, videos = browse(debug(), number=6)
    page = render_browsed([images, videos], config='debug', epoch=2, facts={'command': 'a & b'})
    for sample in (*images.samples, *videos.samples):
        assert sample.path in page
        assert f'#{sample.place + 1}</span>' in page
    for sample in videos.samples:
        first, last = sample.frame_ids
        assert f'gap {(last - first) / sample.fps:.2f} s, {last - first} frame' in page
        assert f'frame {first}, {first / sample.fps:.2f} s' in page
    assert page.count('<img ') == 6 * 2 * 3  # samples, views, and what is shown of each
    assert '3 images, 3 videos: the first of epoch 2 of debug' in page
    assert 'a &amp; b' in page


def test_page_says_sizes_in_words(debug):
    cfg = debug()
    shown = browse(cfg, number=2)
    sizes = describe_sizes(shown, cfg)
    assert sizes == (
        'The model gets 64 x 64 px: 8 x 8 patches of 8 px. The backbone is built for 64 x 64 px.'
    )
    page = render_browsed(shown, config='debug', epoch=0, facts={}, sizes=sizes)
    assert sizes in page and 'view: 64 x 64 px' in page
    cfg.model.backbone.img_size = 32
    assert 'built for 32 x 32 px, which is another size' in describe_sizes(shown, cfg)
