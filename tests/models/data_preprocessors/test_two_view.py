# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.models.data_preprocessors import TwoViewPreprocessor


def test_views_are_normalised_channel_by_channel():
    views = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    preprocessor = TwoViewPreprocessor(mean=(10, 20, 30), std=(2, 4, 8))
    inputs = preprocessor(dict(inputs=list(views), data_samples=None), training=True)['inputs']
    mean, std = np.array([10, 20, 30])[:, None, None], np.array([2, 4, 8])[:, None, None]
    for view, normalised in zip(views, inputs, strict=True):
        np.testing.assert_allclose(normalised.numpy(), (view.numpy() - mean) / std, rtol=1e-6)


def test_clips_of_different_lengths_are_normalised_each():
    clips = [torch.randint(0, 256, (t, 3, 4, 4), dtype=torch.uint8) for t in (1, 5)]
    inputs = TwoViewPreprocessor()(dict(inputs=clips))['inputs']
    assert [len(clip) for clip in inputs] == [1, 5]
    assert all(clip.dtype == torch.float32 for clip in inputs)


def test_denormalising_gives_every_uint8_value_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    preprocessor = TwoViewPreprocessor()
    assert torch.equal(preprocessor.denormalize(preprocessor.normalize(pixels)), pixels)


def test_normalisation_is_no_part_of_a_checkpoint():
    assert TwoViewPreprocessor().state_dict() == {}


def test_mean_and_std_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match='`mean` has 3 channels and `std` 1'):
        TwoViewPreprocessor(std=(1.0,))
