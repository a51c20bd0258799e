# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE with one loss disabled equals MAE, or SimCLR on a ViT, which are separate algorithms."""

import pytest
import torch

from vicmae.errors import ConfigError, DataError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

PROJECTOR = dict(type='MLPHead', hidden_dim=16, out_dim=8)


def make_mae(**parts):
    config = toy_vicmae_config()
    shared = {k: config[k] for k in ('backbone', 'neck', 'aggregator', 'data_preprocessor')}
    return build(type='MAE', reconstruction=dict(type='PixelReconstructionLoss'), **shared | parts)


def make_simclr(mask_ratio=0, **parts):
    config = toy_vicmae_config()
    backbone = {**config['backbone'], 'masking': dict(type='RandomMasking', mask_ratio=mask_ratio)}
    return build(
        type='SimCLR',
        backbone=backbone,
        aggregator=dict(type='MeanPooling'),
        projector=PROJECTOR,
        contrastive=dict(type='InfoNCELoss'),
        **parts,
    )


def make_vicmae(mask_ratio=0.75, *, reconstruction=True, contrastive=True, **parts):
    config = toy_vicmae_config()
    config['backbone']['masking']['mask_ratio'] = mask_ratio
    for name, is_on in [('reconstruction', reconstruction), ('contrastive', contrastive)]:
        if not is_on:
            config['head'][name] = None
    config['head']['contrastive_weight'] = 1.0
    return build(**config | parts)


def build(**config):
    model = MODELS.build(config)
    model.init_weights()
    return randomize(model)


def make_views(num_samples=4):
    return [torch.randn(num_samples, 3, 16, 16) for _ in range(2)]


def step(model, views):
    torch.manual_seed(3)  # of the masks
    total, _ = model.parse_losses(model.loss(views))
    total.backward()
    return total, {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def assert_equal_steps(model, other, views):
    other.load_state_dict(model.state_dict())  # strictly: the same parts
    views = [view.double() for view in views]
    total, gradients = step(model.double(), views)
    other_total, other_gradients = step(other.double(), views)
    assert total.dtype == torch.float64
    torch.testing.assert_close(total, other_total)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, other_gradients[name], msg=name)


def test_vicmae_without_contrast_is_mae_on_all_views():
    assert_equal_steps(make_vicmae(contrastive=False), make_mae(), make_views())


def test_mae_takes_one_view_or_several():
    model = make_mae()
    first, second = make_views()
    noise = torch.rand(8, 16)
    values = []
    for views, rows in [([first], noise[:4]), ([second], noise[4:]), ([first, second], noise)]:
        model.backbone.masking.noise = lambda *_, rows=rows: rows
        values.append(model.loss(views)['loss_reconstruction'].item())
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, rel=1e-6)


def test_vicmae_without_reconstruction_and_masks_is_simclr():
    vicmae = make_vicmae(
        0, reconstruction=False, projector=PROJECTOR, predictor=None, target=SHARED
    )
    assert_equal_steps(vicmae, make_simclr(), make_views())


def test_simclr_ignores_the_masking():
    views = make_views()
    losses = [make_seeded(ratio).loss(views)['loss_contrastive'].item() for ratio in (0, 0.75)]
    assert losses[0] == losses[1]


def make_seeded(mask_ratio):
    torch.manual_seed(0)
    return make_simclr(mask_ratio)


SHARED = dict(type='SharedTarget')


@pytest.mark.parametrize(
    ('switch', 'left', 'logged'),
    [
        ('reconstruction', {'backbone', 'predictor', 'target'}, {'contrastive'}),
        ('contrastive', {'backbone', 'neck'}, {'reconstruction'}),
    ],
)
def test_disabled_loss_drops_its_parts(switch, left, logged):
    model = make_vicmae(**{switch: False})
    assert {name.split('.')[0] for name in model.state_dict()} == left
    losses = model.loss(make_views())
    assert {name for name in losses if name in ('reconstruction', 'contrastive')} == logged
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert model.extract_feat(torch.zeros(2, 3, 16, 16)).shape == (2, 16)


@pytest.mark.parametrize(('part', 'loss'), [('neck', 'reconstruction'), ('target', 'contrastive')])
def test_loss_without_its_part_is_refused(part, loss):
    message = f'`head.{loss}` needs a `{part}`, got None. Set one, .*`head.{loss}=None`'
    with pytest.raises(ValueError, match=message):
        make_vicmae(**{part: None})


@pytest.mark.parametrize('make', [make_mae, lambda **p: make_vicmae(contrastive=False, **p)])
def test_aggregator_that_no_loss_trains_is_refused(make):
    with pytest.raises(ValueError, match='AttentionPooling has parameters, but .* Use `MeanPool'):
        make(aggregator=dict(type='AttentionPooling', num_heads=2))


def test_simclr_refuses_to_reconstruct():
    with pytest.raises(ValueError, match='This SimCLR has no `neck`'):
        make_simclr().reconstruct(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    ('losses', 'got'), [(torch.ones(()), 'a Tensor'), ({'figure': torch.ones(())}, r"\['figure'\]")]
)
def test_algorithm_whose_loss_returns_something_else_is_named(losses, got):
    model = MODELS.build(toy_vicmae_config())
    model.loss = lambda *_: losses
    with pytest.raises(ConfigError, match=rf'`ViCMAE.loss` must return a dict.*{got}'):
        model([torch.zeros(2, 3, 16, 16)] * 2, mode='loss')


@pytest.mark.parametrize('make', [make_mae, make_simclr, make_vicmae])
def test_views_of_a_loss_are_a_list_of_one_shape(make):
    model, images = make(), torch.randn(4, 3, 16, 16)
    with pytest.raises(DataError, match=r'list with one tensor for each view .* a tensor \(4, 3'):
        model.loss(images)
    with pytest.raises(DataError, match=r'got \(4, 3, 16, 16\) and \(4, 3, 8, 8\)'):
        model.loss([images, images[..., :8, :8]])
    with pytest.raises(DataError, match=r'A batch is a dict with `inputs`, got a tensor \(4, 3'):
        model.mixed_loss([images, images])
