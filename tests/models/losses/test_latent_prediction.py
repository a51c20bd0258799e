# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger

from vicmae.checkpoints.fit import load_weights
from vicmae.errors import ConfigError
from vicmae.models.layers import gather_tokens
from vicmae.models.losses import LatentPredictionLoss
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config, toy_video_mae_config

CLIPS = dict(num_frames=4, tubelet_size=2)


def make_model(kind='MAE', backbone=None, **loss):
    """A model that predicts tokens, with a teacher that isn't its student."""
    config = toy_vicmae_config()
    reconstruction = dict(type='LatentPredictionLoss', **loss)
    config['backbone'] = {**config['backbone'], **(backbone or {})}
    if kind == 'ViCMAE':
        config['head'] = {**config['head'], 'reconstruction': reconstruction}
    else:
        config = {k: config[k] for k in ('backbone', 'neck', 'aggregator', 'data_preprocessor')}
        config |= dict(type=kind, reconstruction=reconstruction)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    for seed, parameters in enumerate([model.parameters(), model.pixel_loss.parameters()]):
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def make_views(backbone=None, num_views=2):
    times = (backbone['num_frames'],) if backbone else ()
    return [torch.randn(3, 3, *times, 16, 16) for _ in range(num_views)]


def layer_norm_slowly(token):
    return (token - token.mean()) / np.sqrt(token.var() + 1e-5)


def distance_slowly(error, distance):
    """The distance of one value, and its derivative."""
    if distance == 'l1':
        return abs(error), np.sign(error)
    if distance == 'l2':
        return error**2, 2 * error
    small = abs(error) < 1
    return (error**2 / 2, error) if small else (abs(error) - 0.5, np.sign(error))


@pytest.mark.parametrize('backbone', [None, CLIPS], ids=['images', 'clips'])
@pytest.mark.parametrize('distance', ['l1', 'smooth_l1', 'l2'])
def test_loss_and_its_gradient_equal_the_formula_term_by_term(distance, backbone):
    model = make_model(backbone=backbone, distance=distance).double()
    views = torch.cat(make_views(backbone)).double()
    mask = model.backbone.draw_mask(views)
    predicted = model.neck(model.backbone(views, mask)[0], mask, model.backbone.grid_of(views))
    predicted = (10 * predicted.detach()).requires_grad_(True)
    loss = model.pixel_loss(predicted, model.true_masked(views, mask))
    (gradient,) = torch.autograd.grad(loss, predicted)

    teacher = MODELS.build({**toy_vicmae_config()['backbone'], **(backbone or {})}).double()
    teacher.eval()
    teacher.load_state_dict(model.pixel_loss.backbone.state_dict())
    tokens = teacher(views)[0][:, 1:].detach().numpy()  # without the class token
    terms, slopes = [], np.zeros(gradient.shape)
    for sample, masked in enumerate(mask.ids_masked.tolist()):
        for place, patch in enumerate(masked):
            target = layer_norm_slowly(tokens[sample, patch])
            for i, value in enumerate(predicted[sample, place].tolist()):
                term, slopes[sample, place, i] = distance_slowly(value - target[i], distance)
                terms.append(term)
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-10)
    np.testing.assert_allclose(gradient.numpy(), slopes / len(terms), rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize('kind', ['MAE', 'ViCMAE'])
def test_student_and_decoder_get_all_gradients_and_the_teacher_none(kind):
    model = make_model(kind)
    losses = model.loss(make_views())
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        trained = 'reconstruction.backbone' not in name and 'pos_embed' not in name
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
    assert model.neck.decoder_pred.out_features == model.backbone.embed_dims


@pytest.mark.parametrize('method', ['VideoMAE', 'MAEST', 'OmniMAE'])
def test_methods_of_clips_predict_tokens_in_place_of_pixels(method):
    config = toy_video_mae_config(method)
    model = MODELS.build({**config, 'reconstruction': dict(type='LatentPredictionLoss')})
    model.init_weights()
    clips = torch.randn(2, 3, 4, 16, 16)
    model.loss([clips])['loss_reconstruction'].backward()
    assert model.neck.decoder_pred.weight.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in model.pixel_loss.parameters())
    mask = model.backbone.draw_mask(clips)
    tokens = model.backbone(clips)[0]  # the teacher starts as the student
    targets = F.layer_norm(gather_tokens(tokens, mask.ids_masked), tokens.shape[-1:])
    torch.testing.assert_close(model.true_masked(clips, mask), targets)


def test_targets_depend_on_the_whole_view_and_not_on_the_mask():
    model, (view,) = make_model(), make_views(num_views=1)
    first, second = model.backbone.draw_mask(view), model.backbone.draw_mask(view)
    targets = model.pixel_loss.encode(view)
    for mask in (first, second):
        expected = gather_tokens(targets, mask.ids_masked)
        torch.testing.assert_close(model.true_masked(view, mask), expected)
    changed = view.clone()
    changed[:, :, :4, :4] += 1  # one patch
    moved = (model.pixel_loss.encode(changed) - targets).abs().amax(dim=(0, 2))
    assert (moved > 0).all()


def test_only_masked_patches_are_targets_and_a_perfect_prediction_has_no_loss():
    model, (view,) = make_model(), make_views(num_views=1)
    mask = model.backbone.draw_mask(view)
    targets = model.true_masked(view, mask)
    assert targets.shape == (3, 12, 16)
    assert model.pixel_loss(targets, targets) == 0
    torch.testing.assert_close(targets.mean(dim=-1), torch.zeros(3, 12), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        targets.var(dim=-1, correction=0), torch.ones(3, 12), atol=1e-3, rtol=0
    )


def test_teacher_with_momentum_zero_is_its_student():
    model = make_model()
    state = model.backbone.state_dict()
    assert not all(
        map(torch.equal, state.values(), model.pixel_loss.backbone.state_dict().values())
    )
    before = model.pixel_loss.backbone.cls_token.clone()
    model.update_target(momentum=0.75)
    expected = 0.75 * before + 0.25 * model.backbone.cls_token
    torch.testing.assert_close(model.pixel_loss.backbone.cls_token, expected)
    model.update_target(momentum=0.0)
    assert all(map(torch.equal, state.values(), model.pixel_loss.backbone.state_dict().values()))


def test_initial_teacher_equals_the_student_and_changes_no_initial_weight():
    config = toy_vicmae_config()
    torch.manual_seed(0)
    other = MODELS.build({**config, 'neck': {**config['neck']}})
    torch.manual_seed(1)
    other.init_weights()
    config['head'] = {**config['head'], 'reconstruction': dict(type='LatentPredictionLoss')}
    model = MODELS.build(config)
    torch.manual_seed(1)
    model.init_weights()
    for name, value in other.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
        assert torch.equal(model.pixel_loss.backbone.state_dict()[name], value), name


def test_only_the_student_drops_paths():
    model = make_model(backbone=dict(drop_path_rate=0.9)).train()
    assert model.backbone.layers[1].training
    assert not model.pixel_loss.backbone.layers[1].training


@pytest.mark.parametrize('kind', ['MAE', 'ViCMAE'])
def test_checkpoint_without_a_teacher_starts_one_from_the_student(kind):
    model, other = make_model(kind), make_model(kind)
    randomize(model, seed=3)
    state = {k: v for k, v in model.state_dict().items() if 'reconstruction.' not in k}
    assert len(state) < len(model.state_dict())
    load_weights(other, state, source='a.pth')  # strictly
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(other.pixel_loss.backbone.state_dict()[name], value), name


@pytest.mark.parametrize('masked', [True, False])
def test_two_teachers_of_a_model_are_both_moved(masked):
    config = toy_vicmae_config()
    config['target'] = dict(type='EMATarget', masked=masked)
    config['head'] = {**config['head'], 'reconstruction': dict(type='LatentPredictionLoss')}
    model = MODELS.build(config)
    model.init_weights()
    assert model.teachers.keys() == {'target', 'head.reconstruction'}
    randomize(model.backbone)
    model.update_target(momentum=0.0)
    for teacher in model.teachers.values():
        assert torch.equal(teacher.backbone.cls_token, model.backbone.cls_token)
    assert model.loss(make_views())['loss_reconstruction'].isfinite()


def test_nothing_masked_has_no_loss():
    predicted = torch.zeros(2, 0, 8, requires_grad=True)
    assert LatentPredictionLoss()(predicted, torch.zeros(2, 0, 8)) == 0


def test_tokens_are_not_drawn_as_pictures():
    with pytest.raises(ConfigError, match='LatentPredictionLoss makes the decoder predict tokens'):
        make_model().reconstruct(make_views(num_views=1)[0])


def test_momentum_zero_warns_of_a_collapse(capsys):
    MMLogger.get_instance('latent_prediction')  # one that writes to where `capsys` looks
    LatentPredictionLoss()
    assert 'collapse' not in capsys.readouterr().out
    LatentPredictionLoss(momentum=0.0)
    assert 'nothing prevents a collapse' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(momentum=1.5), r'`momentum` is the share .* in \[0, 1\], got 1.5'),
        (dict(distance='l3'), "`distance` must be one of l1, smooth_l1, l2, got 'l3'"),
    ],
)
def test_invalid_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        LatentPredictionLoss(**setting)
