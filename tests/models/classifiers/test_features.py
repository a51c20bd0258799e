# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch

from vicmae.checkpoints.fit import fit_weights, load_weights
from vicmae.errors import CheckpointError, ConfigError
from vicmae.models.feature_model import FeatureModel
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config


def features_config(**changes):
    backbone = {k: v for k, v in toy_vicmae_config()['backbone'].items() if k != 'masking'}
    return dict(
        type='FrozenFeatures', backbone={**backbone, **changes}, aggregator=dict(type='MeanPooling')
    )


def pretrained(method):
    config = toy_vicmae_config()
    if method == 'vicmae-ema':
        config['target'] = dict(type='EMATarget')
    if method == 'classifier':
        config = toy_transfer_config(head=dict(type='TransferHead', num_classes=5))
    if method == 'mae':
        config = dict(
            type='MAE',
            backbone=config['backbone'],
            neck=config['neck'],
            aggregator=dict(type='MeanPooling'),
            reconstruction=dict(type='PixelReconstructionLoss'),
        )
    if method == 'simclr':
        config = dict(
            type='SimCLR',
            backbone=config['backbone'],
            aggregator=dict(type='MeanPooling'),
            projector=dict(type='MLPHead', hidden_dim=8, out_dim=4),
            contrastive=dict(type='InfoNCELoss'),
        )
    model = MODELS.build(config)
    randomize(model.backbone, seed=1)
    return model


@pytest.mark.parametrize('method', ['vicmae', 'vicmae-ema', 'mae', 'simclr', 'classifier'])
def test_features_are_those_of_the_pretrained_model_despite_other_weights(method):
    source = pretrained(method).eval()
    model = MODELS.build(features_config()).eval()
    state = source.state_dict()
    report = fit_weights(model, state)[1]
    assert report.missing == report.reshaped == []
    load_weights(model, state, source='a.pth')
    frames = torch.rand(3, 3, 16, 16)
    assert model(frames).equal(FeatureModel.extract_feat(source, frames))


def test_mmpretrain_checkpoint_of_a_backbone_loads():
    source = pretrained('mae')
    model = MODELS.build(features_config())
    load_weights(model, source.backbone.state_dict(), source='a.pth')
    for name, value in source.backbone.state_dict().items():
        assert model.backbone.state_dict()[name].equal(value)


def test_teacher_loads_if_requested():
    source = pretrained('vicmae-ema')
    randomize(source.target.backbone, seed=2)
    model = MODELS.build(dict(features_config(), pretrained_branch='teacher'))
    load_weights(model, source.state_dict(), source='a.pth')
    assert model.backbone.pos_embed.equal(source.target.backbone.pos_embed)
    assert not model.backbone.cls_token.equal(source.backbone.cls_token)
    with pytest.raises(CheckpointError, match='no EMA teacher'):
        load_weights(model, pretrained('mae').state_dict(), source='a.pth')


def test_image_weights_are_inflated_for_clip_backbones():
    source = pretrained('mae').eval()
    model = MODELS.build(features_config(num_frames=4, tubelet_size=2)).eval()
    load_weights(model, source.state_dict(), source='a.pth')
    frames = torch.rand(2, 3, 16, 16)
    still = [frame.expand(4, -1, -1, -1) for frame in frames]
    torch.testing.assert_close(model.extract_clip_feat(still), source.extract_feat(frames))


def test_checkpoint_of_another_width_is_refused_and_nothing_is_loaded():
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=32)
    model = MODELS.build(features_config(arch=arch))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match='width 16, that of the config has width 32'):
        load_weights(model, pretrained('mae').state_dict(), source='a.pth')
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_frozen_features_refuse_training():
    model = MODELS.build(features_config())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match='not trained'):
        model(torch.rand(2, 3, 16, 16), mode='loss')
    with pytest.raises(ValueError, match='AttentionPooling has parameters'):
        MODELS.build(dict(features_config(), aggregator=dict(type='AttentionPooling')))
    with pytest.raises(ValueError, match='must be one of student, teacher'):
        MODELS.build(dict(features_config(), pretrained_branch='EMA'))


def test_images_and_clips_of_several_lengths_are_encoded_in_their_order():
    clip_model = dict(num_frames=4, tubelet_size=2, pos_embed_type='sinusoid')
    model = MODELS.build(features_config(**clip_model)).eval()
    clips = [torch.rand(length, 3, 16, 16) for length in (4, 1, 2, 4, 1)]
    features = model.extract_clip_feat(clips)
    alone = torch.cat([model.extract_clip_feat([clip]) for clip in clips])
    torch.testing.assert_close(features, alone)
    assert not torch.allclose(features, alone.flip(0))
    classifier = MODELS.build(
        toy_transfer_config(backbone=features_config(**clip_model)['backbone'])
    )
    classifier.backbone.load_state_dict(model.backbone.state_dict())
    torch.testing.assert_close(classifier.eval().extract_clip_feat(clips), features)
