# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of clips that join the time steps of an encoder."""

import pytest
import torch

from vicmae.errors import ConfigError
from vicmae.models.aggregators import (
    GeMPooling,
    MaxPooling,
    MeanOverTime,
    MeanPooling,
    StatisticsOverTime,
)
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config


def make_model(aggregator='MeanPooling', **backbone):
    config = toy_vicmae_config()
    clips = dict(num_frames=8, tubelet_size=2)
    model = MODELS.build(
        dict(
            type='FrozenFeatures',
            backbone=dict(config['backbone'], **(backbone or clips)),
            aggregator=dict(type=aggregator),
            data_preprocessor=config['data_preprocessor'],
        )
    )
    model.backbone.warns_of_resizing = False
    return randomize(model).eval()


def joined(model, over_time, clips):
    model.join_over_time(over_time)
    return model.extract_clip_feat(clips)


@pytest.mark.parametrize('pooling', [MeanPooling, MaxPooling, GeMPooling])
def test_each_time_step_of_the_grid_is_pooled_by_itself(pooling):
    model = make_model('MeanPooling')
    model.aggregator = pooling()
    clips = [torch.randn(length, 3, 16, 16) for length in (8, 4)]
    actual = joined(model, StatisticsOverTime(), clips)
    for feature, clip in zip(actual, clips, strict=True):
        (tokens,) = model.backbone(clip.transpose(0, 1)[None])
        patches = tokens[0, 1:].reshape(len(clip) // 2, 16, 16)  # time, place, width
        steps = torch.stack([pooling()(step[None], None)[0] for step in patches])
        change = (steps[len(steps) // 2 :].mean(0) - steps[: len(steps) // 2].mean(0)) / 2
        spread = (steps - steps.mean(0)).square().mean(0).sqrt()
        torch.testing.assert_close(feature, torch.cat([steps.mean(0), change, spread]))


def test_means_of_time_steps_average_to_the_mean_over_all_tokens():
    model, clips = make_model(), [torch.randn(8, 3, 16, 16) for _ in range(3)]
    expected = model.extract_clip_feat(clips)
    torch.testing.assert_close(joined(model, MeanOverTime(), clips), expected)


def test_maximum_of_all_tokens_is_not_the_mean_of_the_maxima_of_time_steps():
    model, clips = make_model('MaxPooling'), [torch.randn(8, 3, 16, 16)]
    over_all = model.extract_clip_feat(clips)
    assert (joined(model, MeanOverTime(), clips) < over_all).any()


def test_image_is_a_single_time_step_without_change():
    model, image = make_model(), torch.randn(1, 3, 16, 16)
    expected = model.extract_clip_feat([image])[0]
    mean, change, spread = joined(model, StatisticsOverTime(), [image])[0].chunk(3)
    torch.testing.assert_close(mean, expected)
    assert change.eq(0).all() and spread.eq(0).all()


def test_encoder_of_clips_has_features_of_the_width_of_an_encoder_of_frames():
    clips = [torch.randn(8, 3, 16, 16), torch.randn(1, 3, 16, 16)]
    of_clips = joined(make_model(num_frames=8), StatisticsOverTime(), clips)
    of_frames = joined(make_model(num_frames=1), StatisticsOverTime(), clips)
    assert of_clips.shape == of_frames.shape == (2, 48)


def test_class_token_is_refused_for_clips_only():
    with pytest.raises(ConfigError, match='ClsPooling takes the class token, and a clip has one'):
        make_model('ClsPooling').join_over_time(MeanOverTime())
    frames = make_model('ClsPooling', num_frames=1)
    assert joined(frames, MeanOverTime(), [torch.randn(4, 3, 16, 16)]).shape == (1, 16)
