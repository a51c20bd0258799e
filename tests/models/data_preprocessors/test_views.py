# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.datasets.loader.collate import collate_by_kind
from vicmae.models.data_preprocessors import ViewPreprocessor
from vicmae.structures import Clips, as_vector


def test_views_are_normalised_channel_by_channel():
    views = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    preprocessor = ViewPreprocessor(mean=(10, 20, 30), std=(2, 4, 8))
    inputs = preprocessor(dict(inputs=list(views), data_samples=None), training=True)['inputs']
    mean, std = np.array([10, 20, 30])[:, None, None], np.array([2, 4, 8])[:, None, None]
    for view, normalised in zip(views, inputs, strict=True):
        np.testing.assert_allclose(normalised.numpy(), (view.numpy() - mean) / std, rtol=1e-6)


def test_views_are_augmented_by_their_values_then_normalised():
    views = torch.randint(0, 256, (2, 2, 3, 5, 6), dtype=torch.uint8)
    gray, flip, nothing = dict(grayscale=1), dict(flip=1), {}
    numbers = [[gray, flip], [nothing, gray]]  # by view, then by sample
    augment = [torch.from_numpy(np.stack([as_vector(one) for one in view])) for view in numbers]
    data = ViewPreprocessor()(dict(inputs=list(views), augment=augment), training=True)
    assert list(data) == ['inputs']  # the model takes no more

    plain = ViewPreprocessor()
    luma = (views * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(2, keepdim=True)
    grays = plain.normalize(luma.expand(views.shape))
    torch.testing.assert_close(data['inputs'][0][0], grays[0, 0])
    torch.testing.assert_close(data['inputs'][1][1], grays[1, 1])
    assert torch.equal(data['inputs'][0][1], plain.normalize(views[0, 1].flip(-1)))
    assert torch.equal(data['inputs'][1][0], plain.normalize(views[1, 0]))


def test_views_of_clips_are_normalised_channel_by_channel():
    clips = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)  # four frames, three channels
    preprocessor = ViewPreprocessor(mean=(10, 20, 30), std=(2, 4, 8))
    nothing = torch.from_numpy(np.stack([as_vector({})] * 2))
    mean, std = (
        np.array([10, 20, 30])[:, None, None, None],
        np.array([2, 4, 8])[:, None, None, None],
    )
    for items in ({}, dict(augment=[nothing])):
        (view,) = preprocessor(dict(inputs=[clips], **items), training=True)['inputs']
        np.testing.assert_allclose(view.numpy(), (clips.numpy() - mean) / std, rtol=1e-6)


def test_clips_of_different_lengths_are_normalised():
    clips = [torch.randint(0, 256, (t, 3, 4, 4), dtype=torch.uint8) for t in (1, 5)]
    inputs = ViewPreprocessor()(Clips(clips)).inputs
    assert [len(clip) for clip in inputs] == [1, 5]
    assert all(clip.dtype == torch.float32 for clip in inputs)


def test_denormalising_restores_every_uint8_value():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    preprocessor = ViewPreprocessor()
    assert torch.equal(preprocessor.denormalize(preprocessor.normalize(pixels)), pixels)


def test_normalisation_is_not_in_checkpoints():
    assert ViewPreprocessor().state_dict() == {}


def test_mean_and_std_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match='`mean` and `std` must have the same length, got 3 and 1'):
        ViewPreprocessor(std=(1.0,))


def test_times_of_views_reach_the_model():
    times = [torch.tensor(0.5), torch.tensor(1.5)]
    sample = dict(inputs=[torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, seeds=1, times=times)
    clip = {**sample, 'inputs': [torch.zeros(3, 2, 8, 8, dtype=torch.uint8)] * 2}
    batch = ViewPreprocessor()(collate_by_kind([sample, clip, sample]), training=True)
    assert [len(one['times'][0]) for one in batch.batches] == [2, 1]
    assert torch.equal(batch.batches[0]['times'][1], torch.tensor([1.5, 1.5]))
