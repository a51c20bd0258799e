# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vicmae.datasets.transforms import MMPretrainAugment, PackImage

RAND = dict(
    type='mmpretrain.RandAugment',
    policies='timm_increasing',
    num_policies=2,
    magnitude_level=9,
    magnitude_std=0.5,
)
ERASING = dict(type='mmpretrain.RandomErasing', erase_prob=1.0, mode='const', fill_color=[1, 2, 3])


def run(transforms, seed, img=None):
    img = np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8) if img is None else img
    results = dict(img=img, rng=np.random.default_rng(seed), path='a.jpg')
    return MMPretrainAugment(transforms)(results)['img']


def test_view_depends_only_on_the_samples_seed():
    for seed in range(5):
        np.random.seed(1)
        first = run([RAND, ERASING], seed)
        np.random.seed(2)
        again = run([RAND, ERASING], seed)
        assert np.array_equal(first, again)
        assert np.random.randint(2**31) == np.random.RandomState(2).randint(2**31)
    assert not np.array_equal(run([RAND], 0), run([RAND], 1))


def test_channels_are_passed_as_bgr_and_returned_as_rgb():
    erased = run([ERASING], 0, np.full((32, 24, 3), 200, np.uint8))
    assert {tuple(pixel) for pixel in erased.reshape(-1, 3).tolist()} == {
        (200, 200, 200),
        (3, 2, 1),
    }


def test_input_is_not_modified():
    img = np.full((32, 24, 3), 200, np.uint8)
    run([ERASING], 0, img)
    assert (img == 200).all()


@pytest.mark.parametrize('label', [0, 3])
def test_packed_image_has_its_first_view_and_label(label):
    view = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    packed = PackImage()(dict(views=[view], gt_label=label, path='a.jpg'))
    assert np.array_equal(packed['inputs'].numpy().transpose(1, 2, 0), view)
    assert int(packed['data_samples'].gt_label) == label
    assert packed['data_samples'].path == 'a.jpg'
