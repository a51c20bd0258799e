# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config, toy_video_mae_config
from vicmae.visualization.looks import look_inside, require_vit


def image_model(**backbone):
    config = toy_vicmae_config()
    config['backbone'].update(backbone)
    return randomize(MODELS.build(config)).eval()


def clip_model(**backbone):
    return randomize(MODELS.build(toy_video_mae_config(**backbone))).eval()


def clip(num_frames=4):
    generator = torch.Generator().manual_seed(0)
    shape = (num_frames, 3, 16, 16)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


MODELS_AND_STEPS = [
    (image_model, 4, 4),
    (image_model, 1, 1),
    (clip_model, 4, 2),
    (clip_model, 1, 1),
]


@pytest.mark.parametrize(('build', 'num_frames', 'num_steps'), MODELS_AND_STEPS)
def test_tokens_are_those_that_the_model_pools(build, num_frames, num_steps):
    model, frames = build(), clip(num_frames)
    look = look_inside(model, frames)
    assert look.tokens.shape == (num_steps, 4, 4, 16)
    assert look.attention.shape == (num_steps, 4, 4)
    np.testing.assert_array_equal(look.frames, frames.movedim(1, -1))
    views = model.data_preprocessor.normalize(frames)
    with torch.no_grad():
        feature = model.extract_clip_feat([views])[0]
    pooled = look.tokens.flatten(0, 2).mean(dim=0)
    torch.testing.assert_close(pooled, feature, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('build', [image_model, clip_model])
def test_grid_is_that_of_the_pixels(build):
    """A patch with other pixels has the token that changes most, at its place."""
    model, frames = build(), clip()
    changed = frames.clone()
    changed[2:, :, 4:8, 12:16] = 255 - changed[2:, :, 4:8, 12:16]
    change = (look_inside(model, changed).tokens - look_inside(model, frames).tokens).norm(dim=-1)
    step, row, column = np.unravel_index(int(change.argmax()), change.shape)
    assert (row, column) == (1, 3)
    assert step >= change.shape[0] // 2


def test_attention_is_that_of_the_class_token_in_each_frame():
    model, frames = image_model(), clip(3)
    views = model.data_preprocessor.normalize(frames)
    with torch.no_grad():
        _, weights = model.backbone.encode_with_attention(views)
    expected = weights.mean(dim=1)[:, 0, 1:].reshape(3, 4, 4)
    torch.testing.assert_close(look_inside(model, frames).attention, expected)


def test_attention_of_the_mean_patch_sums_to_one_where_there_is_no_class_token():
    look = look_inside(clip_model(), clip())
    torch.testing.assert_close(look.attention.sum(), torch.tensor(1.0))
    look = look_inside(image_model(with_cls_token=False), clip())
    torch.testing.assert_close(look.attention.sum(dim=(1, 2)), torch.ones(4))


def test_frames_of_an_image_model_are_looked_at_one_by_one():
    model, frames = image_model(), clip()
    whole, third = look_inside(model, frames), look_inside(model, frames[2:3])
    torch.testing.assert_close(whole.tokens[2:3], third.tokens, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.attention[2:3], third.attention, rtol=1e-5, atol=1e-6)


def test_classifiers_can_be_looked_into():
    model = randomize(MODELS.build(toy_transfer_config())).eval()
    assert look_inside(model, clip(1)).tokens.shape == (1, 4, 4, 16)


def test_other_models_are_refused():
    with pytest.raises(
        ConfigError, match='Only models of vicmae .* got a Linear with the backbone'
    ):
        require_vit(torch.nn.Linear(2, 2))
