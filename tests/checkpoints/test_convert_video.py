# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts public checkpoints of clip models. Features and predictions are those of models written from the papers."""

import itertools
import math

import pytest
import torch
from mmengine.config import Config

from vicmae.apis import convert_checkpoint, load_config, load_model
from vicmae.checkpoints.convert.formats import FORMATS, detect_format
from vicmae.checkpoints.convert.options import MODEL_SIZES
from vicmae.checkpoints.read import read_weights
from vicmae.errors import CheckpointError, ConfigError
from vicmae.models.backbones.vit import ARCHITECTURES
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

from .public_models import MAEST, NUM_FRAMES, FineTunedVideoMAE, OmniMAE, VideoMAE

FIXED = dict(pos_embed_type='sinusoid', with_cls_token=False)
LEARNED = dict(learn_pos_embed=True, repeat_cls_token=False)
NUM_CLASSES = 3
VIDEOMAE = dict(
    base='videomae_vit-base-p16_8xb128-amp-coslr-800e_k400',
    large='videomae_vit-large-p16_8xb128-amp-coslr-1600e_k400',
    huge='videomae_vit-huge-p16_8xb128-amp-coslr-1600e_k400',
)
PRETRAINED = {
    'videomae': (VideoMAE, 'VideoMAE', FIXED, {}),
    'mae-st': (MAEST, 'MAEST', LEARNED, dict(own_cls_token=True)),
    'omnimae': (OmniMAE, 'OmniMAE', FIXED, {}),
}
FINE_TUNED = {
    'videomae': FineTunedVideoMAE,
    'mae-st': lambda: MAEST(num_classes=NUM_CLASSES),
    'omnimae': lambda: OmniMAE(num_classes=NUM_CLASSES),
}


def sizes(name):
    """VideoMAE's positions are computed for its size only."""
    return (
        dict(img_size=224, patch_size=56) if name == 'videomae' else dict(img_size=16, patch_size=4)
    )


def toy_grid(name):
    side = sizes(name)['img_size'] // sizes(name)['patch_size']
    return NUM_FRAMES // 2, side, side


def backbone_config(name, **options):
    return {
        **toy_vicmae_config()['backbone'],
        **sizes(name),
        **dict(num_frames=NUM_FRAMES, tubelet_size=2, masking=None),
        **PRETRAINED[name][2],
        **dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)),
        **options,
    }


def pretrainer_config(name):
    _, method, _, neck = PRETRAINED[name]
    return dict(
        type=method,
        backbone=backbone_config(name, masking=dict(type='RandomMasking', mask_ratio=0.9)),
        neck=dict(type='MAEDecoder', embed_dim=8, depth=1, num_heads=2, **neck),
        reconstruction=dict(type='PixelReconstructionLoss'),
        aggregator=dict(type='MeanPooling'),
    )


def classifier_config(name, **options):
    return dict(
        type='TransferClassifier',
        backbone=backbone_config(name, final_norm=False),
        aggregator=dict(type='MeanPooling'),
        head=dict(type='TransferHead', norm='LN', num_classes=NUM_CLASSES),
        **options,
    )


def pixels(name, *, image=False):
    """Draws images or clips."""
    side = sizes(name)['img_size']
    batch_size = 1 if name == 'videomae' else 2  # for speed: its images are large
    frames = [] if image else [NUM_FRAMES]
    return torch.randn(batch_size, 3, *frames, side, side).double()


def float_weights(public):
    return {key: value.float() for key, value in public.state_dict().items()}


def assert_equal(actual, expected):
    """Compares computations in float64. Positions are stored in float32."""
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def convert(path, name, weights, **entries):
    """Saves weights in the layout of a public file, and converts them."""
    torch.save(dict(model=weights, **entries), path / 'public.pth')
    target = path / 'ours.pth'
    conversion = convert_checkpoint(
        path / 'public.pth', target, source_format=name, target_format='vicmae', force=True
    )
    return conversion, target


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """Public models with random weights, and their converted checkpoints."""
    results = {}
    for name, (model_class, *_) in PRETRAINED.items():
        model = randomize(model_class()).eval()
        path = tmp_path_factory.mktemp(name)
        results[name] = (model.double(), *convert(path, name, float_weights(model)))
    return results


def compare(model, public, inputs):
    """Returns pairs of tensors that should be equal: features, masked ones, and predictions."""
    with torch.no_grad():
        (tokens,) = model.backbone(inputs)
        num_prefix = model.backbone.num_extra_tokens
        everything = torch.ones(len(inputs), tokens.shape[1] - num_prefix).bool()
        yield tokens[:, num_prefix:], public.encode(inputs, everything)
        tokens, mask = model.backbone(inputs, mask=True)
        encoded = public.encode(inputs, mask.visible)
        order = mask.ids_keep.argsort(dim=1)[..., None].expand(-1, -1, tokens.shape[-1])
        yield tokens[:, num_prefix:].gather(1, order), encoded
        predicted, _ = model.predict_hidden(inputs, tokens, mask)
        yield predicted, public.predict(encoded, mask.visible)


@pytest.mark.parametrize(
    ('name', 'image'), [*((name, False) for name in PRETRAINED), ('omnimae', True)]
)
def test_model_of_converted_weights_computes_the_features_and_predictions_of_the_paper(
    converted, name, image
):
    public, conversion, checkpoint = converted[name]
    assert not conversion.unused and not conversion.missing and not conversion.absent
    model = load_model(Config(dict(model=pretrainer_config(name))), checkpoint).double()
    for actual, expected in compare(model, public, pixels(name, image=image)):
        assert_equal(actual, expected)


@pytest.mark.parametrize('name', FINE_TUNED)
def test_classifier_of_converted_weights_computes_the_scores_of_the_paper(tmp_path, name):
    public = randomize(FINE_TUNED[name]()).eval()
    conversion, checkpoint = convert(tmp_path, name, public.state_dict())
    assert not conversion.unused and not conversion.missing and not conversion.absent
    model = load_model(Config(dict(model=classifier_config(name))), checkpoint).double()
    clips = pixels(name)
    with torch.no_grad():
        actual = model.head((model.extract_clip_feat(list(clips.transpose(1, 2))),))
        assert_equal(actual, public.double()(clips))


def spoil(key, change):
    return lambda weights: weights | {key: change(weights[key])}


FAULTS = {
    'zero bias of queries': ('videomae', spoil('encoder.blocks.1.attn.q_bias', torch.zeros_like)),
    'queries as keys': (
        'mae-st',
        lambda w: (
            w
            | {f'blocks.0.attn.q.{k}': w[f'blocks.0.attn.k.{k}'] for k in ('weight', 'bias')}
            | {f'blocks.0.attn.k.{k}': w[f'blocks.0.attn.q.{k}'] for k in ('weight', 'bias')}
        ),
    ),
    'transposed projection': ('omnimae', spoil('trunk.blocks.0.attn.proj.weight', lambda w: w.T)),
    'frames in reverse': (
        'omnimae',
        spoil('trunk.patch_embed.proj.1.weight', lambda w: w.flip(2)),
    ),
    'times in reverse': ('mae-st', spoil('pos_embed_temporal', lambda w: w.flip(1))),
    'mask token of zeros': ('omnimae', spoil('trunk.mask_token', torch.zeros_like)),
    'decoder without positions': ('omnimae', spoil('trunk.decoder.pos_embed', torch.zeros_like)),
    'no class token of the decoder': ('mae-st', spoil('decoder_cls_token', torch.zeros_like)),
}


@pytest.mark.parametrize(('name', 'fault'), FAULTS.values(), ids=FAULTS)
def test_comparison_with_the_paper_sees_a_planted_fault(converted, tmp_path, name, fault):
    public, _, _ = converted[name]
    _, checkpoint = convert(tmp_path, name, fault(float_weights(public)))
    model = load_model(Config(dict(model=pretrainer_config(name))), checkpoint).double()
    pairs = compare(model, public, pixels(name))
    assert max(float((actual - expected).abs().max()) for actual, expected in pairs) > 1e-3


@pytest.mark.parametrize('name', PRETRAINED)
def test_every_key_of_a_public_file_is_reported_once(converted, name):
    public, conversion, checkpoint = converted[name]
    assert [entry.source for entry in conversion.mapped] == list(public.state_dict())
    written = read_weights(checkpoint)
    targets = {e.target for e in (*conversion.mapped, *conversion.computed)}
    assert targets == set(written) == set(MODELS.build(pretrainer_config(name)).state_dict())
    assert all(str(e.target) in str(conversion) for e in conversion.computed)


def test_computed_tensors_are_named_with_their_origin(converted):
    _, conversion, _ = converted['videomae']
    assert '\ncomputed:\n' in str(conversion)
    assert '\n  neck.decoder_embed.bias (8,) (zeros)\n' in str(conversion)
    note = 'a sinusoid, for 16 frames of 224 x 224 pixels'
    assert (
        dict(target='backbone.pos_embed', shape=(1, 16, 16), note=note)
        in (conversion.as_dict()['computed'])
    )


def test_converted_positions_are_those_of_a_new_model_bit_for_bit(converted):
    written = read_weights(converted['videomae'][2])
    new = MODELS.build(pretrainer_config('videomae')).state_dict()
    tables = [key for key in new if key.endswith('pos_embed')]
    assert len(tables) == 4
    for key in tables:
        assert torch.equal(written[key], new[key]), key


def test_learned_positions_replace_the_sinusoid(tmp_path):
    public = FineTunedVideoMAE()
    learned = torch.randn_like(public.positions)
    _, checkpoint = convert(tmp_path, 'videomae', public.state_dict() | {'pos_embed': learned})
    model = load_model(Config(dict(model=classifier_config('videomae'))), checkpoint)
    positions = model.backbone.positions(toy_grid('videomae'))
    torch.testing.assert_close(positions, learned)


@pytest.mark.parametrize('head', ['head', 'head.1', 'heads.0'])
def test_head_in_a_container_is_found(tmp_path, head):
    weights = OmniMAE(num_classes=NUM_CLASSES).state_dict()
    for suffix in ('.weight', '.bias'):
        weights[head + suffix] = weights.pop(f'head{suffix}')
    conversion, _ = convert(tmp_path, 'omnimae', weights)
    assert not conversion.unused and not conversion.missing


def test_biases_of_a_decoder_that_has_them_are_kept(tmp_path):
    """The released decoders of OmniMAE have none, but its training code makes them."""
    weights = randomize(OmniMAE(decoder_projection='joined')).state_dict()
    conversion, checkpoint = convert(tmp_path, 'omnimae', weights)
    assert not conversion.unused and not conversion.missing
    bias = weights['trunk.decoder.decoder_blocks.0.attn.qkv.bias']
    assert torch.equal(read_weights(checkpoint)['neck.decoder_blocks.0.attn.qkv.bias'], bias)


def test_part_of_a_joined_tensor_alone_is_unused(tmp_path):
    weights = VideoMAE().state_dict()
    del weights['encoder.blocks.0.attn.v_bias']
    conversion, _ = convert(tmp_path, 'videomae', weights)
    assert [tuple(entry) for entry in conversion.unused] == [
        ('encoder.blocks.0.attn.q_bias', (16,), 'encoder.blocks.0.attn.v_bias is missing')
    ]
    assert conversion.missing == ['backbone.layers.0.attn.qkv.bias']


@pytest.mark.parametrize('entry', ['model', 'module', 'model_state', 'state_dict'])
@pytest.mark.parametrize('prefix', ['', 'module.', 'encoder.', 'backbone.', 'model.'])
def test_wrapped_classifier_is_converted_without_its_prefix(tmp_path, entry, prefix):
    weights = FineTunedVideoMAE().state_dict()
    prefixed = {prefix + key: value for key, value in weights.items()}
    torch.save({entry: prefixed, 'epoch': 3}, tmp_path / 'public.pth')
    conversion = convert_checkpoint(
        tmp_path / 'public.pth',
        tmp_path / 'ours.pth',
        source_format='videomae',
        target_format='vicmae',
    )
    assert conversion.left_behind == ['epoch']
    assert not conversion.unused and not conversion.missing
    assert len(conversion.mapped) == len(weights)


@pytest.mark.parametrize('prefix', ['encoder.', 'backbone.', ''])
def test_encoder_alone_is_converted(tmp_path, prefix):
    weights = {prefix + k: v for k, v in VideoMAE().encoder.state_dict().items()}
    conversion, _ = convert(tmp_path, 'videomae', weights)
    assert not conversion.unused and conversion.absent == ['decoder']
    assert all(key.startswith('neck.') for key in conversion.missing)


@pytest.mark.parametrize('fine_tuned', [False, True])
@pytest.mark.parametrize(
    ('actual', 'requested'),
    list(itertools.permutations(['mae', 'mae-st', 'videomae', 'omnimae'], 2)),
)
def test_file_of_another_format_is_refused_with_its_format(tmp_path, actual, requested, fine_tuned):
    if actual == 'mae':
        weights = {'cls_token': torch.zeros(1, 1, 8), 'blocks.0.norm1.weight': torch.zeros(8)}
    else:
        weights = (FINE_TUNED[actual] if fine_tuned else PRETRAINED[actual][0])().state_dict()
    message = f'is not a `{requested}` checkpoint. It looks like a `{actual}` checkpoint: use --from {actual}'
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path, requested, weights)


@pytest.mark.parametrize('name', PRETRAINED)
def test_conversion_to_a_format_that_is_only_read_is_refused(converted, tmp_path, name):
    message = (
        f"Can't convert from 'vicmae' to '{name}': checkpoints of '{name}' are only read, as their tensors differ. "
        'Use --from vicmae --to vicmae or vicmae-official or mae.'
    )
    with pytest.raises(ConfigError, match=message):
        convert_checkpoint(
            converted[name][2],
            tmp_path / 'out.pth',
            source_format='vicmae',
            target_format=name,
        )


# ----------------------------------------------------------------------- options and transfer
def test_options_describe_the_model(converted):
    heads = {'videomae': 16, 'mae-st': 16, 'omnimae': 16}
    for name, num_heads in heads.items():
        options = converted[name][1].options
        size = sizes(name)
        assert (
            options.items()
            >= {
                'model.backbone.arch': dict(
                    embed_dims=16, num_layers=2, num_heads=1, feedforward_channels=64
                ),
                'image_size': size['img_size'],
                'patch_size': size['patch_size'],
                'model.backbone.num_frames': NUM_FRAMES,
                'model.backbone.tubelet_size': 2,
                'model.neck.embed_dim': 8,
                'model.neck.depth': 1,
                'model.neck.num_heads': num_heads,
                **{f'model.backbone.{key}': value for key, value in PRETRAINED[name][2].items()},
                **{f'model.neck.{key}': value for key, value in PRETRAINED[name][3].items()},
            }.items()
        )


def test_options_of_a_classifier_describe_its_head(tmp_path):
    conversion, _ = convert(tmp_path, 'videomae', FineTunedVideoMAE().state_dict())
    assert (
        conversion.options.items()
        >= {
            'num_classes': NUM_CLASSES,
            'model.backbone.final_norm': False,
            'model.head.norm': 'LN',
        }.items()
    )
    assert not any(key.startswith('model.neck') for key in conversion.options)


@pytest.mark.parametrize(
    ('name', 'published', 'start'),
    [
        ('videomae', VIDEOMAE['base'], VIDEOMAE['huge']),
        ('videomae', VIDEOMAE['large'], VIDEOMAE['base']),
        ('videomae', VIDEOMAE['huge'], VIDEOMAE['base']),
        (
            'mae-st',
            'maest_vit-base-p16_8xb64-amp-coslr-800e_k400',
            'maest_vit-huge-p16_8xb64-amp-coslr-800e_k400',
        ),
        (
            'omnimae',
            'omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2',
            'omnimae_vit-huge-p14_8xb256-amp-coslr-800e_in1k-ssv2',
        ),
    ],
)
def test_options_of_published_sizes_turn_a_config_into_that_of_the_size(name, published, start):
    expected = load_config(published).model
    with torch.device('meta'):
        weights = MODELS.build(expected).state_dict()
    found = load_config(start, FORMATS[name].model_options(weights)).model
    assert found.backbone.to_dict() == expected.backbone.to_dict()
    assert found.neck.to_dict() == expected.neck.to_dict()


def test_model_sizes_are_those_of_the_backbone():
    for (width, depth), size in MODEL_SIZES.items():
        arch = ARCHITECTURES[size]
        assert (arch['embed_dims'], arch['num_layers']) == (width, depth)
        assert arch['num_heads'] == (width // 64 if width < 1024 else 16)
    assert set(MODEL_SIZES.values()) == set(ARCHITECTURES)


@pytest.mark.parametrize('name', PRETRAINED)
def test_converted_backbone_is_fine_tuned_on_images_and_clips(converted, name):
    _, _, checkpoint = converted[name]
    model = MODELS.build(classifier_config(name, pretrained=str(checkpoint)))
    model.init_weights()
    weights = read_weights(checkpoint)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{key}']), key
    for frames in (pixels(name, image=True).float(), pixels(name).float().transpose(1, 2)):
        model.zero_grad()
        model.head((model.extract_feat(frames),)).sum().backward()
        assert model.backbone.patch_embed.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('name', 'image'), [*((name, False) for name in PRETRAINED), ('omnimae', True)]
)
def test_frozen_features_are_those_of_the_paper(converted, name, image):
    public, _, checkpoint = converted[name]
    model = dict(
        type='FrozenFeatures',
        backbone=backbone_config(name),
        aggregator=dict(type='MeanPooling'),
    )
    inputs = pixels(name, image=image)
    num_patches = math.prod(toy_grid(name)[image:])
    with torch.no_grad():
        features = (
            load_model(Config(dict(model=model)), checkpoint)
            .double()
            .extract_clip_feat(list(inputs[:, None] if image else inputs.transpose(1, 2)))
        )
        tokens = public.encode(inputs, torch.ones(len(inputs), num_patches).bool())
    assert_equal(features, tokens.mean(dim=1))


@pytest.mark.parametrize('name', FINE_TUNED)
def test_file_that_was_not_converted_is_refused_with_the_command(tmp_path, name):
    torch.save(dict(model=FINE_TUNED[name]().state_dict()), tmp_path / 'public.pth')
    model = MODELS.build(classifier_config(name, pretrained=str(tmp_path / 'public.pth')))
    with pytest.raises(CheckpointError, match=f'convert.py --from {name} --to vicmae'):
        model.init_weights()


def test_videomae_v2_is_another_name_of_videomae(converted, tmp_path):
    public, conversion, checkpoint = converted['videomae']
    second, other = convert(tmp_path, 'videomae-v2', float_weights(public))
    assert second == conversion._replace(source_format='videomae-v2')
    weights, others = read_weights(checkpoint), read_weights(other)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)


def test_formats_are_detected_from_their_keys(converted):
    for name, (public, _, checkpoint) in converted.items():
        detected = detect_format(public.state_dict())
        assert FORMATS[detected] is FORMATS[name]
        assert detect_format(read_weights(checkpoint)) == 'vicmae'
    assert detect_format(['fc.weight']) is None
