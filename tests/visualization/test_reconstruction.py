# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from vicmae.errors import ConfigError
from vicmae.models.algorithms import MAEST, OmniMAE, ViCMAE
from vicmae.models.layers import gather_tokens
from vicmae.models.losses import normalize_patches
from vicmae.registry import MODELS
from vicmae.testing import (
    randomize,
    toy_transfer_config,
    toy_vicmae_config,
    toy_video_mae_config,
)
from vicmae.visualization.reconstruction import (
    Reconstructions,
    draw_reconstructions,
)


class Oracle(ViCMAE):
    """Predicts what is hidden, normalised where the loss wants it normalised."""

    def reconstruct(self, frames, seeds=None):
        _, patches, ids_masked = super().reconstruct(frames, seeds)
        truth = gather_tokens(patches, ids_masked)
        if self.head.reconstruction.norm_pix:
            truth = normalize_patches(truth)
        return truth, patches, ids_masked


def make_model(cls=ViCMAE, norm_pix=True):
    config = toy_vicmae_config()
    config['head']['reconstruction']['norm_pix'] = norm_pix
    config.pop('type')
    parts = {
        name: MODELS.build(config[name]) if name == 'aggregator' else value
        for name, value in config.items()
    }
    model = cls(**parts)
    model.init_weights()
    return randomize(model).eval()


def make_frames():
    # No gray, and no two pixels of a patch alike: what changed can be seen.
    return torch.randint(0, 90, (3, 3, 16, 16), dtype=torch.uint8)


def as_patches(pictures):
    """(B, H, W, 3) -> (B, 16 patches, 4, 4, 3)."""
    return pictures.reshape(-1, 4, 4, 4, 4, 3).swapaxes(2, 3).reshape(-1, 16, 4, 4, 3)


def find_hidden(drawn):
    gray = as_patches(drawn.masked)
    return (np.abs(gray - np.array([124, 116, 104])) <= 1).all(axis=(2, 3, 4))  # ImageNet's mean


def test_original_is_the_input_of_the_model():
    frames = make_frames()
    drawn = draw_reconstructions(make_model(), frames)
    np.testing.assert_array_equal(drawn.original, frames.permute(0, 2, 3, 1).numpy())


def test_masked_patches_are_gray_and_three_quarters_of_all():
    drawn = draw_reconstructions(make_model(), make_frames())
    assert find_hidden(drawn).sum(axis=1).tolist() == [12, 12, 12]


@pytest.mark.parametrize('norm_pix', [True, False])
def test_visible_patches_are_unchanged_and_masked_ones_predicted(norm_pix):
    drawn = draw_reconstructions(make_model(norm_pix=norm_pix), make_frames())
    hidden = find_hidden(drawn)
    original = as_patches(drawn.original)
    for pictures in (drawn.masked, drawn.output):
        assert pictures.dtype == np.uint8
        np.testing.assert_array_equal(as_patches(pictures)[~hidden], original[~hidden])
    changed = (as_patches(drawn.output) != original).any(axis=(2, 3, 4))
    np.testing.assert_array_equal(changed, hidden)


@pytest.mark.parametrize('norm_pix', [True, False])
def test_perfect_predictor_restores_the_original(norm_pix):
    drawn = draw_reconstructions(make_model(Oracle, norm_pix), make_frames())
    difference = np.abs(drawn.output.astype(int) - drawn.original.astype(int))
    assert difference.max() <= 1
    assert find_hidden(drawn).sum() == 36


def test_seed_determines_the_masks_and_keeps_the_random_state():
    model, frames = make_model(), make_frames()
    state = torch.get_rng_state()
    first, second, other = (draw_reconstructions(model, frames, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first.output, second.output)
    assert (find_hidden(first) != find_hidden(other)).any()


class ClipOracle(OmniMAE):
    """Predicts what is hidden, each channel normalised."""

    def reconstruct(self, frames, seeds=None):
        _, patches, ids_masked = super().reconstruct(frames, seeds)
        truth = normalize_patches(gather_tokens(patches, ids_masked), num_channels=3)
        return truth, patches, ids_masked


def make_clip_model(cls):
    config = toy_video_mae_config()
    config.pop('type')
    config['aggregator'] = MODELS.build(config['aggregator'])
    return randomize(cls(**config)).eval()


def test_clips_are_drawn_frame_by_frame_and_restored_by_a_perfect_predictor():
    clips = torch.randint(0, 90, (2, 4, 3, 16, 16), dtype=torch.uint8)  # (B, T, C, H, W)
    drawn = draw_reconstructions(make_clip_model(ClipOracle), clips)
    expected = clips.movedim(2, -1).numpy()
    np.testing.assert_array_equal(drawn.original, expected)
    assert drawn.masked.shape == drawn.output.shape == (2, 4, 16, 16, 3)
    assert np.abs(drawn.output.astype(int) - expected).max() <= 1
    hidden = [find_hidden(Reconstructions(f, f, f)) for f in drawn.masked.swapaxes(0, 1)]
    assert all(frame.sum(axis=1).tolist() == [12, 12] for frame in hidden)
    np.testing.assert_array_equal(hidden[0], hidden[1])  # a tubelet has two frames


def test_image_of_a_clip_model_is_one_picture():
    frames = make_frames()
    drawn = draw_reconstructions(make_clip_model(ClipOracle), frames)
    np.testing.assert_array_equal(drawn.original, frames.permute(0, 2, 3, 1).numpy())
    assert np.abs(drawn.output.astype(int) - drawn.original).max() <= 1
    assert find_hidden(drawn).sum(axis=1).tolist() == [12, 12, 12]


def test_clip_is_drawn_from_the_frames_that_mae_st_predicts():
    clips = torch.randint(0, 90, (1, 4, 3, 16, 16), dtype=torch.uint8)
    drawn = draw_reconstructions(make_clip_model(MAEST), clips)
    np.testing.assert_array_equal(drawn.original, clips[:, [0, 3]].movedim(2, -1))


@pytest.mark.parametrize('same_masks', [True, False])
def test_gray_patches_are_those_of_the_mask(same_masks):
    model, frames = make_model(), make_frames()
    drawn = draw_reconstructions(model, frames, seed=5, same_masks=same_masks)
    seeds = torch.tensor([5, 5, 5] if same_masks else [5, 6, 7])
    visible = model.backbone.draw_mask(frames.float(), seeds).visible
    np.testing.assert_array_equal(find_hidden(drawn), ~visible.numpy())


def test_classifier_is_refused():
    model = MODELS.build(toy_transfer_config())
    with pytest.raises(ConfigError, match='A TransferClassifier reconstructs nothing. Give a'):
        draw_reconstructions(model, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
