# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from vicmae.errors import ConfigError
from vicmae.models.algorithms import ViCMAE
from vicmae.models.heads import MLPHead
from vicmae.models.layers import patchify, unpatchify
from vicmae.models.masking import RandomMasking
from vicmae.registry import MODELS
from vicmae.structures import Views
from vicmae.testing import randomize, toy_vicmae_config

LOSSES = ('loss_reconstruction', 'loss_contrastive')


def make_model(norm='BN', seed=0, **parts):
    model = MODELS.build({**toy_vicmae_config(norm), **parts})
    model.init_weights()
    return randomize(model, seed)


def make_views(batch_size=4):
    return [torch.randn(batch_size, 3, 16, 16) for _ in range(2)]


def fix_masks(model, num_samples):
    noise = torch.rand(num_samples, 16)
    model.backbone.masking.noise = lambda *_: noise
    return noise


def encode_slowly(model, image, kept):
    """One image: convolve all of it, keep some tokens, run the layers: -> (1 + K, D)."""
    vit = model.backbone
    tokens = (
        vit.patch_embed.projection(image[None]).flatten(2).transpose(1, 2) + vit.pos_embed[:, 1:]
    )
    x = torch.cat([vit.cls_token, torch.stack([tokens[0, i] for i in kept])[None]], dim=1)
    for layer in vit.layers:
        x = layer(x)
    return vit.ln1(x)[0]


def decode_slowly(model, tokens, kept):
    """One image: all 16 patches: (1 + K, D) -> (N, P)."""
    decoder = model.neck
    embedded = decoder.decoder_embed(tokens)
    sequence = [embedded[0]]
    for n in range(16):
        sequence.append(embedded[1 + kept.index(n)] if n in kept else decoder.mask_token[0, 0])
    x = torch.stack(sequence)[None] + decoder.decoder_pos_embed
    for block in decoder.decoder_blocks:
        x = block(x)
    return decoder.decoder_pred(decoder.decoder_norm(x))[0, 1:]


def patch_error(predicted, image, n):
    row, column = divmod(n, 4)
    patch = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0).flatten()
    target = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
    return (predicted - target).square().mean().item()


def loss_slowly(model, views, noise):
    """Computes ViC-MAE from its figure: by image and patch, views separately, one InfoNCE term at a time."""
    batch_size = len(views[0])
    errors, pooled = [], []
    for v, view in enumerate(views):
        for i, image in enumerate(view):
            kept = noise[v * batch_size + i].argsort()[:4].tolist()
            tokens = encode_slowly(model, image, kept)
            predicted = decode_slowly(model, tokens, kept)
            errors += [patch_error(predicted[n], image, n) for n in range(16) if n not in kept]
            pooled.append(tokens[1:].mean(dim=0))  # without the class token
    pooled = torch.stack(pooled).unflatten(0, (2, batch_size))
    p = F.normalize(torch.stack([model.predictor(view) for view in pooled]), dim=-1)
    z = F.normalize(torch.stack([model.target.head(view) for view in pooled]), dim=-1)
    terms = []
    for v in range(2):
        for i in range(batch_size):
            similarity = {
                (w, j): math.exp(p[v, i] @ z[w, j] / 0.1)
                for w in range(2)
                for j in range(batch_size)
                if (w, j) != (v, i)
            }
            terms.append(-math.log(similarity[1 - v, i] / sum(similarity.values())))
    return np.mean(errors), np.mean(terms)


@pytest.mark.parametrize('norm', ['BN', 'LN', None])
def test_both_losses_equal_a_slow_reference_of_the_whole_method(norm):
    model, views = make_model(norm), make_views()
    model.head.reconstruction_weight, model.head.contrastive_weight = 0.9, 0.2
    noise = fix_masks(model, 8)
    losses = model.loss(views)
    with torch.no_grad():
        reconstruction, contrastive = loss_slowly(model, views, noise)
    assert losses['reconstruction'].item() == pytest.approx(reconstruction, rel=1e-5)
    assert losses['contrastive'].item() == pytest.approx(contrastive, rel=1e-4)
    total, _ = model.parse_losses(losses)
    assert total.item() == pytest.approx(0.9 * reconstruction + 0.2 * contrastive, rel=1e-5)


def test_only_masked_pixels_are_targets():
    model, views = make_model(), make_views()
    # Predictions that don't depend on the encoder, so that pixels count as targets alone.
    torch.nn.init.zeros_(model.neck.decoder_pred.weight)
    noise = fix_masks(model, 8)
    visible = torch.zeros(8, 16, 1, dtype=torch.bool)
    visible.scatter_(1, noise.argsort(dim=1)[:, :4, None], True)

    def reconstruction_after_change(where):
        patches = patchify(torch.cat(views), (1, 4, 4))
        changed = torch.where(where, torch.randn_like(patches), patches)
        pixels = unpatchify(changed, (1, 4, 4), (1, 4, 4)).squeeze(2)
        return model.loss(pixels.chunk(2))['reconstruction']

    before = model.loss(views)['reconstruction']
    assert torch.equal(reconstruction_after_change(visible), before)
    assert (reconstruction_after_change(~visible) - before).abs() > 1e-3


@pytest.mark.parametrize('norm', ['BN', None])
def test_every_trainable_parameter_receives_a_gradient_and_frozen_ones_none(norm):
    config = toy_vicmae_config(norm)
    config['backbone']['frozen_stages'] = 1
    model = MODELS.build(config)
    model.init_weights()
    randomize(model)
    model.parse_losses(model.loss(make_views()))[0].backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {'backbone.pos_embed', 'neck.decoder_pos_embed', 'backbone.cls_token'} <= frozen
    assert any(name.startswith('backbone.layers.0.') for name in frozen)
    assert not any(name.startswith('backbone.layers.1.') for name in frozen)
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_contrast_trains_the_encoder_through_predictions_and_targets_alike():
    model, views = make_model(norm=None), make_views()
    model.head.reconstruction_weight = 0.0
    fix_masks(model, 8)
    model.parse_losses(model.loss(views))[0].backward()
    gradient = model.backbone.layers[0].attn.qkv.weight.grad.clone()

    def gradient_through(*sides):
        model.zero_grad()
        pooled = model.pool(model.backbone(torch.cat(views), mask=True)[0])
        p, z = (pooled if side in sides else pooled.detach() for side in ('p', 'z'))
        p, z = model.predictor(p).unflatten(0, (2, 4)), model.target.head(z).unflatten(0, (2, 4))
        (0.03 * model.head.contrastive(p, z)).backward()
        return model.backbone.layers[0].attn.qkv.weight.grad.clone()

    torch.testing.assert_close(gradient, gradient_through('p', 'z'))
    torch.testing.assert_close(gradient, gradient_through('p') + gradient_through('z'))
    assert gradient_through('z').norm() > 0.1 * gradient.norm()


def test_only_position_embeddings_are_frozen_by_default():
    frozen = {name for name, p in make_model().named_parameters() if not p.requires_grad}
    assert frozen == {'backbone.pos_embed', 'neck.decoder_pos_embed'}


def test_losses_are_symmetric_in_the_views():
    model, (first, second) = make_model(), make_views()
    noise = fix_masks(model, 8)
    losses = model.loss([first, second])
    model.backbone.masking.noise = lambda *_: noise.roll(4, dims=0)
    swapped = model.loss([second, first])
    for name in LOSSES:
        torch.testing.assert_close(swapped[name], losses[name])


def test_same_seed_gives_the_same_losses_and_another_seed_other_masks():
    model, views = make_model(), make_views()
    values = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        values.append(model.loss(views)['reconstruction'].item())
    assert values[0] == values[1] != values[2]


def test_training_steps_lower_the_loss():
    model, views = make_model(), make_views(8)
    fix_masks(model, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        total = model.parse_losses(model.loss(views))[0]
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]


def test_feature_is_the_pooled_plain_encoding():
    model, frames = make_model(), torch.randn(3, 3, 16, 16)
    expected = [encode_slowly(model, frame, range(16))[1:].mean(dim=0) for frame in frames]
    torch.testing.assert_close(model.extract_feat(frames), torch.stack(expected))


def test_an_image_is_a_clip_of_one_frame_and_a_clip_the_mean_over_its_frames():
    model = make_model()
    clips = [torch.randn(t, 3, 16, 16) for t in (1, 5, 2)]
    features = model.extract_clip_feat(clips)
    assert features.shape == (3, 16)
    torch.testing.assert_close(features[:1], model.extract_feat(clips[0]))
    for clip, feature in zip(clips, features, strict=True):
        torch.testing.assert_close(feature, model.extract_feat(clip).mean(dim=0))


def test_predict_writes_each_samples_feature():
    model = make_model().eval()
    clips = [torch.randn(t, 3, 16, 16) for t in (3, 1)]
    samples = [DataSample(), DataSample()]
    assert model(clips, samples, mode='predict') is samples
    features = model.extract_clip_feat(clips)
    assert torch.equal(torch.stack([s.feature for s in samples]), features)


def test_modes_are_those_of_mmengine():
    model, views = make_model(), make_views()
    assert set(LOSSES) <= set(model(views, mode='loss'))
    assert torch.equal(model(views[0]), model.extract_feat(views[0]))
    with pytest.raises(ValueError, match="'loss', 'predict' or 'tensor', got 'test'"):
        model(views, mode='test')


def test_state_dict_reloads_and_reproduces_everything():
    model, other, views = make_model(seed=1), make_model(seed=2), make_views()
    other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    fix_masks(model, 8)
    other.backbone.masking.noise = model.backbone.masking.noise
    for name, value in model.loss(views).items():
        assert torch.equal(other.loss(views)[name], value), name


def test_state_dict_has_these_parts_and_no_others():
    names = {name.split('.')[0] for name in make_model().state_dict()}
    assert names == {'backbone', 'neck', 'predictor', 'target'}


@pytest.mark.parametrize(
    ('dtype', 'loss_error', 'gradient_error'),
    [
        (torch.float32, 1e-6, 1e-5),
        (torch.float16, 2e-3, 2e-2),  # 11 bits: 5e-4
        (torch.bfloat16, 1.6e-2, 1.6e-1),  # 8 bits: 4e-3
    ],
)
def test_step_agrees_with_float64_within_its_precision(dtype, loss_error, gradient_error):
    config = toy_vicmae_config(None)
    config['head']['contrastive']['temperature'] = 0.05
    model = MODELS.build(config)
    model.init_weights()
    colors = torch.randn(16, 3, 1, 1)  # samples that differ in more than noise
    views = [colors + torch.randn(16, 3, 16, 16) for _ in range(2)]
    fix_masks(model, 32)

    def step(model, views, **autocast):
        with torch.autocast('cpu', **autocast):
            losses = model.loss(views)
        model.parse_losses(losses)[0].backward()
        gradient = [p.grad.flatten().double() for p in model.parameters() if p.requires_grad]
        return {name: losses[name].item() for name in LOSSES}, torch.cat(gradient)

    exact = copy.deepcopy(model).double()
    exact_losses, exact_gradient = step(exact, [v.double() for v in views], enabled=False)
    losses, gradient = step(model, views, dtype=dtype, enabled=dtype != torch.float32)
    assert losses == pytest.approx(exact_losses, rel=loss_error)
    error = ((gradient - exact_gradient).norm() / exact_gradient.norm()).item()
    assert error < gradient_error
    if dtype != torch.float32:
        assert error > 1e-5  # it did run in lower precision


def test_nothing_masked_gives_only_the_contrastive_loss():
    config = toy_vicmae_config()
    config['backbone']['masking']['mask_ratio'] = 0
    losses = MODELS.build(config).loss(make_views())
    assert losses['loss_reconstruction'].item() == 0
    assert losses['loss_contrastive'] > 0


def test_projector_feeds_the_predictor_and_the_target_without_a_head():
    head = dict(type='MLPHead', hidden_dim=12, out_dim=6)
    model = make_model(projector=head, predictor=head, target=dict(type='SharedTarget'))
    assert model.predictor[0].in_features == 6
    views = make_views()
    fix_masks(model, 8)
    tokens, _ = model.backbone(torch.cat(views), mask=True)
    projected = torch.stack([model.projector(v) for v in model.pool(tokens).unflatten(0, (2, 4))])
    predictions = torch.stack([model.predictor(v) for v in projected])
    expected = model.head.contrastive(predictions, projected)
    torch.testing.assert_close(model.loss(views)['contrastive'], expected.detach())


@pytest.mark.parametrize('norm', ['BN', None])
def test_patches_are_contrasted_in_place_of_pooled_tokens(norm):
    model, views = make_model(norm, contrast_patches=True), make_views()
    fix_masks(model, 8)
    tokens, _ = model.backbone(torch.cat(views), mask=True)
    patches = tokens[:, 1:].unflatten(0, (2, 4))  # (2, B, K, D), without the class token
    predictions, targets = (
        torch.stack([head(view.flatten(0, 1)).unflatten(0, (4, -1)) for view in patches])
        for head in (model.predictor, model.target.head)
    )
    expected = model.head.contrastive(predictions, targets)
    losses = model.loss(views)
    torch.testing.assert_close(losses['contrastive'], expected.detach())
    model.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(target=dict(type='EMATarget')), 'needs a `SharedTarget` .* got EMATarget'),
        (
            dict(head=dict(type='ViCMAEHead', contrastive=dict(type='VICRegLoss'))),
            'needs an `InfoNCELoss` as `head.contrastive`, got VICRegLoss',
        ),
        (
            dict(aggregator=dict(type='GeMPooling')),
            'GeMPooling',
        ),
    ],
)
def test_parts_that_cannot_contrast_patches_are_refused(parts, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        make_model(contrast_patches=True, **parts)


def test_patches_of_two_kinds_of_data_are_not_contrasted_in_one_batch():
    model = make_model(contrast_patches=True)
    with pytest.raises(ConfigError, match='batch has 2 kinds of data. Set .*OneSourceBatches'):
        model.mixed_loss([Views(make_views()), Views(make_views())])


def test_change_of_patches_of_clips_is_among_the_targets():
    def reconstruction(tubelet_size, **loss):
        config = toy_vicmae_config()
        config['backbone'] |= dict(num_frames=4, tubelet_size=tubelet_size)
        config['head'] = {
            **config['head'],
            'reconstruction': dict(type='PixelReconstructionLoss', **loss),
        }
        model = randomize(MODELS.build(config))
        model.backbone.masking.noise = lambda *_: torch.arange(32.0).expand(8, -1)
        clips = [torch.randn(4, 3, 4, 16, 16, generator=torch.manual_seed(1)) for _ in range(2)]
        return model.loss(clips)['reconstruction']

    assert reconstruction(2, difference_weight=1.0) > reconstruction(2) + 0.1
    with pytest.raises(ValueError, match='a patch has one frame'):
        reconstruction(1, difference_weight=1.0)


def test_without_projector_and_predictor_pooled_tokens_are_compared():
    model = make_model(projector=None, predictor=None, target=dict(type='SharedTarget'))
    views = make_views()
    fix_masks(model, 8)
    pooled = model.pool(model.backbone(torch.cat(views), mask=True)[0]).unflatten(0, (2, 4))
    expected = model.head.contrastive(pooled, pooled)
    torch.testing.assert_close(model.loss(views)['contrastive'], expected.detach())


def test_parts_may_be_built_modules():
    config = toy_vicmae_config()
    built = MODELS.build({**config, 'predictor': MLPHead(in_dim=16, hidden_dim=16, out_dim=8)})
    assert built.predictor[0].in_features == 16
    backbone = MODELS.build({**config['backbone'], 'masking': RandomMasking(0.5)})
    model = ViCMAE(**{k: v for k, v in config.items() if k != 'type'} | dict(backbone=backbone))
    assert model.backbone is backbone
    assert model.reconstruct(torch.randn(1, 3, 16, 16))[0].shape == (1, 8, 48)


def test_config_is_not_changed_by_building():
    config = toy_vicmae_config()
    before = copy.deepcopy(config)
    MODELS.build(config)
    assert config == before


def test_reconstruct_gives_predictions_for_the_masked_positions():
    model = make_model()
    fix_masks(model, 2)
    frames = torch.randn(2, 3, 16, 16)
    predicted, patches, ids_masked = model.reconstruct(frames)
    assert torch.equal(patches, patchify(frames, (1, 4, 4)))
    for i in range(2):
        kept = [n for n in range(16) if n not in ids_masked[i].tolist()]
        expected = decode_slowly(model, encode_slowly(model, frames[i], kept), kept)
        torch.testing.assert_close(predicted[i], expected[ids_masked[i]])


def test_layer_depth_counts_from_the_patch_embedding_to_the_heads():
    model = make_model()
    assert model.get_layer_depth('backbone.patch_embed.projection.weight') == (0, 4)
    assert model.get_layer_depth('backbone.layers.1.ln1.weight') == (2, 4)
    assert model.get_layer_depth('predictor.0.weight') == (3, 4)


def test_projector_of_unknown_width_is_refused():
    config = toy_vicmae_config()
    with pytest.raises(ValueError, match='output width of ReLU: it has no linear layer'):
        MODELS.build({**config, 'projector': torch.nn.ReLU()})


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (
            dict(target=dict(type='SharedTarget', head=dict(type='MLPHead', out_dim=6))),
            r'Predictions have width 8, targets 6.*`out_dim` of the last head .* to 6, or change `target.head',
        ),
        (
            dict(projector=dict(type='MLPHead', out_dim=5), target=dict(type='EMATarget')),
            r'Predictions have width 8, targets 5: .*Set `out_dim` of .* to 5\.',
        ),
    ],
)
def test_predictions_and_targets_of_unequal_widths_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build({**toy_vicmae_config(), **parts})


def test_cls_pooling_without_a_class_token_is_refused_by_the_model():
    config = toy_vicmae_config()
    backbone = {**config['backbone'], 'with_cls_token': False}
    with pytest.raises(ValueError, match='ClsPooling uses the class token, but the backbone has'):
        MODELS.build({**config, 'backbone': backbone, 'aggregator': dict(type='ClsPooling')})


@pytest.mark.parametrize(
    ('changes', 'keeper'), [({}, 'only the reconstruction'), (dict(reconstruction=None), 'nothing')]
)
def test_log_warns_of_a_cosine_loss_with_gradient_through_both_sides(changes, keeper, log):
    config = toy_vicmae_config()
    config['head'].update(contrastive=dict(type='CosineLoss'), **changes)
    MODELS.build(config)
    assert f'CosineLoss with a SharedTarget: {keeper} prevents a collapse' in ''.join(log)
    log.clear()
    MODELS.build({**config, 'target': dict(type='StopGradientTarget')})
    assert 'collapse' not in ''.join(log)


class Returning(torch.nn.Module):
    """A user's part that returns whatever it is made with, and takes anything."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, *args):
        return self.result(*args)


class OneArgument(torch.nn.Module):
    def forward(self, tokens):
        return tokens.mean(1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(aggregator=Returning(lambda prefix, patches: patches.median(dim=1))),
            r'`model.aggregator` \(Returning\) must return a tensor of shape \(B, D\), got a median of 2',
        ),
        (
            dict(aggregator=OneArgument()),
            r'`model.aggregator` \(OneArgument\) takes \(tokens\), and is called with 2 arguments: a tensor',
        ),
        (
            dict(predictor=Returning(lambda x: None)),
            r'`model.predictor` \(Returning\) must return a tensor of shape \(B, E\), got None',
        ),
        (
            dict(target=Returning(lambda pooled, embedded, teacher: embedded[0])),
            r'`model.target` .* of shape \(V, B, E\), got a tensor of shape \(4, 8\)',
        ),
        (
            dict(contrastive=Returning(lambda predictions, targets: predictions.mean(-1))),
            r'`model.head.contrastive` .* a tensor of one value, got a tensor of shape \(2, 4\)',
        ),
        (
            dict(reconstruction=OneArgument()),
            r'`model.head.reconstruction` \(OneArgument\) takes \(tokens\), and is called with 2 arg',
        ),
    ],
)
def test_part_of_a_user_that_takes_or_returns_the_wrong_thing_is_named(changes, message):
    model = make_model()
    for name, part in changes.items():
        setattr(model.head if hasattr(model.head, name) else model, name, part)
    with pytest.raises(ConfigError, match=message):
        model.loss(list(torch.randn(2, 4, 3, 16, 16)))


def test_error_within_a_part_of_a_user_is_its_own():
    def fail(prefix, patches):
        return 'text' + 1

    model = make_model()
    model.aggregator = Returning(fail)
    with pytest.raises(TypeError, match='can only concatenate str'):
        model.loss(list(torch.randn(2, 4, 3, 16, 16)))
