# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from vicmae.checkpoints.fit import load_backbone
from vicmae.engine.optimizers import TransferOptimWrapperConstructor
from vicmae.errors import CheckpointError, ConfigError
from vicmae.models.algorithms import BasePretrainer
from vicmae.models.feature_model import FeatureModel
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config

ATTENTIVE = dict(type='AttentionPooling', num_heads=2)


def build(**changes):
    return randomize(MODELS.build(toy_transfer_config(**changes)))


def make_samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def step(model, optimizer):
    images = torch.randn(8, 3, 16, 16)
    loss = model(images, make_samples([i % 4 for i in range(8)]), mode='loss')['loss']
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_loss_is_the_cross_entropy_of_a_linear_layer_on_the_mean_patch_token():
    model = build().eval()
    images, labels = torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 2, 3, 3])
    (tokens,) = model.backbone(images)
    scores = F.linear(tokens[:, 1:].mean(dim=1), model.head.fc.weight, model.head.fc.bias)
    expected = F.cross_entropy(scores, labels)
    found = model(images, make_samples(labels.tolist()), mode='loss')['loss']
    torch.testing.assert_close(found, expected)


def test_cls_pooling_classifies_the_class_token():
    model = build(aggregator=dict(type='ClsPooling')).eval()
    images = torch.randn(2, 3, 16, 16)
    (tokens,) = model.backbone(images)
    assert torch.equal(model.extract_feat(images), tokens[:, 0])


def test_prediction_has_the_shares_of_all_classes_and_the_largest_one():
    model = build().eval()
    clips = [torch.randn(1, 3, 16, 16) for _ in range(3)]
    samples = model(clips, make_samples([0, 1, 2]), mode='predict')
    scores = model.head((model.extract_feat(torch.cat(clips)),)).softmax(dim=1)
    torch.testing.assert_close(torch.stack([s.pred_score for s in samples]), scores)
    assert [int(s.pred_label) for s in samples] == scores.argmax(dim=1).tolist()


@pytest.mark.parametrize('aggregator', [dict(type='MeanPooling'), ATTENTIVE], ids=str)
def test_frozen_backbone_does_not_change_in_training(aggregator):
    backbone = {**toy_transfer_config()['backbone'], 'drop_path_rate': 0.5}
    model = build(freeze_backbone=True, aggregator=aggregator, backbone=backbone)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        model.eval()
        model.train()
        assert not any(module.training for module in model.backbone.modules())
        assert model.head.training
        step(model, optimizer)
    changed = {n for n, value in model.state_dict().items() if not value.equal(before[n])}
    assert changed
    assert not any(name.startswith('backbone.') for name in changed)
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(
        p.grad is not None for n, p in model.named_parameters() if not n.startswith('backbone.')
    )


def test_frozen_backbone_is_not_in_the_optimiser():
    model = build(freeze_backbone=True)
    optimizer = dict(type='mmpretrain.LARS', lr=0.1)
    wrapper = TransferOptimWrapperConstructor(dict(type='OptimWrapper', optimizer=optimizer))(model)
    found = [p for group in wrapper.optimizer.param_groups for p in group['params']]
    assert {id(p) for p in found} == {id(p) for p in model.head.parameters()}


def test_every_parameter_of_a_fine_tuned_model_gets_a_gradient():
    model = build()
    step(model, torch.optim.SGD(model.parameters(), lr=0.1))
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # The class token is read by the patches in the layers, and so is trained too.
    assert without == []


def test_init_weights_starts_from_the_pretrained_backbone(tmp_path):
    source = randomize(MODELS.build(toy_vicmae_config()), seed=3)
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'pretrained.pth')
    model = build(pretrained=str(tmp_path / 'pretrained.pth'))
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert value.equal(source.backbone.state_dict()[name]), name


def test_model_builds_without_its_pretrained_file(tmp_path):
    model = build(pretrained=str(tmp_path / 'gone.pth'))
    with pytest.raises(CheckpointError, match='gone.pth. does not exist'):
        model.init_weights()


def test_unknown_branch_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="one of student, teacher, got 'ema'"):
        MODELS.build(toy_transfer_config(pretrained_branch='ema'))


CLIPS = dict(num_frames=4, tubelet_size=2)


def build_for_clips(**changes):
    backbone = {**toy_transfer_config()['backbone'], **CLIPS}
    return build(backbone=backbone, **changes).eval()


def test_clip_backbone_encodes_whole_clips():
    model = build_for_clips()
    clips = torch.randn(2, 4, 3, 16, 16)
    (tokens,) = model.backbone(clips.transpose(1, 2))
    assert tokens.shape == (2, 1 + 2 * 16, 16)
    torch.testing.assert_close(model.extract_feat(clips), tokens[:, 1:].mean(dim=1))
    still = clips[:, :1].expand_as(clips)
    assert not torch.allclose(model.extract_feat(clips), model.extract_feat(still))


def test_image_backbone_averages_the_features_of_frames():
    model = build().eval()
    clips = torch.randn(2, 5, 3, 16, 16)
    expected = torch.stack([model.extract_feat(clip).mean(dim=0) for clip in clips])
    torch.testing.assert_close(model.extract_feat(clips), expected)
    torch.testing.assert_close(model.extract_clip_feat(list(clips)), expected)


def test_attention_over_frames_is_trained_with_a_frozen_backbone():
    over_time = dict(type='AttentionOverTime', num_heads=2)
    model = build(freeze_backbone=True, over_time=over_time)
    frames = torch.randn(3, 5, 3, 16, 16)
    model(frames, make_samples([0, 1, 2]), mode='loss')['loss'].backward()
    assert all(p.grad.abs().max() > 0 for p in model.over_time.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_prediction_is_the_mean_over_views_and_keeps_their_scores():
    model = build_for_clips()
    views = [torch.randn(6, 4, 3, 16, 16) for _ in range(2)]
    samples = model(views, make_samples([0, 1]), mode='predict')
    for sample, own in zip(samples, views, strict=True):
        scores = model.head((model.extract_feat(own),))
        shares = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        torch.testing.assert_close(sample.view_scores, shares)
        torch.testing.assert_close(sample.pred_score, shares.sum(dim=0) / 6)
        assert int(sample.pred_label) == int(sample.pred_score.argmax())


def test_encoding_views_in_parts_changes_nothing(monkeypatch):
    model, views = build_for_clips(), [torch.randn(5, 4, 3, 16, 16) for _ in range(2)]
    expected = model(views, [], mode='predict')
    monkeypatch.setattr('vicmae.models.classifiers.base._CLIPS_AT_ONCE', 3)
    for sample, other in zip(model(views, [], mode='predict'), expected, strict=True):
        torch.testing.assert_close(sample.pred_score, other.pred_score)


def test_inflated_image_weights_give_the_same_features_for_still_clips(tmp_path):
    images, clips = build().eval(), build_for_clips()
    pretrained = {f'backbone.{k}': v for k, v in images.backbone.state_dict().items()}
    torch.save({'state_dict': pretrained}, tmp_path / 'pretrained.pth')
    load_backbone(clips.backbone, str(tmp_path / 'pretrained.pth'))
    image = torch.randn(2, 3, 16, 16)
    still = image[:, None].expand(-1, 4, -1, -1, -1)
    torch.testing.assert_close(
        clips.extract_feat(still), images.extract_feat(image), atol=1e-5, rtol=1e-4
    )


def test_pooling_over_time_is_refused_for_clip_backbones():
    with pytest.raises(ConfigError, match='`over_time` pools frames .* encodes clips of 4'):
        build_for_clips(over_time=dict(type='MeanOverTime'))


def test_only_pretraining_methods_are_pretrainers():
    models = [cls for cls in MODELS.module_dict.values() if issubclass(cls, FeatureModel)]
    assert len(models) > 4
    for cls in models:
        assert issubclass(cls, BasePretrainer) == ('.algorithms.' in cls.__module__), cls
    assert isinstance(MODELS.build(toy_transfer_config()), FeatureModel)
