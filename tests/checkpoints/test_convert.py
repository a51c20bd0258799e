# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts official checkpoints to vicmae's format and back. Every key is reported."""

import argparse
import json
import math
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from safetensors import safe_open

from vicmae.apis import CHECKPOINT_FORMATS, convert_checkpoint, load_model
from vicmae.checkpoints.read import read_weights
from vicmae.errors import CheckpointError, ConfigError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

from ..child import alone, limit_files

# Of the toy model: images of 16 x 16 in patches of 4 x 4.
WIDTH, HIDDEN, NUM_HEADS, DECODER_WIDTH, DECODER_HIDDEN = 16, 32, 2, 8, 32
NUM_PATCHES, PATCH_SIZE = 16, 4
OFFICIAL, OURS = 'vicmae-official', 'vicmae'


# ---------------------------------------------------------------- official checkpoints
def linear(name, width, out):
    return {f'{name}.weight': (out, width), f'{name}.bias': (out,)}


def norm(name, width):
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def blocks(name, depth, width, hidden):
    shapes = {}
    for i in range(depth):
        shapes |= norm(f'{name}.{i}.norm1', width)
        shapes |= linear(f'{name}.{i}.attn.qkv', width, 3 * width)
        shapes |= linear(f'{name}.{i}.attn.proj', width, width)
        shapes |= norm(f'{name}.{i}.norm2', width)
        shapes |= linear(f'{name}.{i}.mlp.fc1', width, hidden)
        shapes |= linear(f'{name}.{i}.mlp.fc2', hidden, width)
    return shapes


def encoder_shapes(depth=2):
    return {
        'cls_token': (1, 1, WIDTH),
        'pos_embed': (1, 1 + NUM_PATCHES, WIDTH),
        'patch_embed.proj.weight': (WIDTH, 3, PATCH_SIZE, PATCH_SIZE),
        'patch_embed.proj.bias': (WIDTH,),
        **blocks('blocks', depth, WIDTH, HIDDEN),
        **norm('norm', WIDTH),
    }


def decoder_shapes(depth=1):
    return {
        'mask_token': (1, 1, DECODER_WIDTH),
        'decoder_pos_embed': (1, 1 + NUM_PATCHES, DECODER_WIDTH),
        **linear('decoder_embed', WIDTH, DECODER_WIDTH),
        **blocks('decoder_blocks', depth, DECODER_WIDTH, DECODER_HIDDEN),
        **norm('decoder_norm', DECODER_WIDTH),
        **linear('decoder_pred', DECODER_WIDTH, 3 * PATCH_SIZE**2),
    }


def projector_shapes(hidden=16, out=8):
    shapes = linear('projector.0', WIDTH, hidden) | linear('projector.3', hidden, hidden)
    for name in ('projector.1', 'projector.4'):
        shapes |= norm(name, hidden)
        shapes |= {f'{name}.running_mean': (hidden,), f'{name}.running_var': (hidden,)}
        shapes |= {f'{name}.num_batches_tracked': ()}
    return shapes | linear('projector.6', hidden, out)


def draw(shapes):
    state = {}
    for key, shape in shapes.items():
        state[key] = torch.randn(shape) * 0.3
        if key.endswith('running_var'):
            state[key] = torch.rand(shape) + 0.5
        if key.endswith('num_batches_tracked'):
            state[key] = torch.tensor(17)
    return state


def official_state(depth=2, decoder_depth=1):
    return draw(encoder_shapes(depth) | decoder_shapes(decoder_depth) | projector_shapes())


def save_official(path, state):
    """Saves a checkpoint with all other entries that the official code writes."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    weight.sum().backward()
    optimizer.step()
    torch.save(
        dict(
            model=state,
            optimizer=optimizer.state_dict(),
            epoch=799,
            scaler=torch.amp.GradScaler('cpu').state_dict(),
            args=argparse.Namespace(
                lr=1e-3, output_dir=Path('out'), resume=None, betas=(0.9, 0.95)
            ),
        ),
        path,
    )
    return path


# -------------------------------------------------------------------- our checkpoints
def toy_config():
    """The toy model in the layout of the official code: one projector."""
    projector = dict(type='MLPHead', hidden_dim=16, out_dim=8)
    model = toy_vicmae_config() | dict(
        projector=projector, predictor=None, target=dict(type='SharedTarget')
    )
    return Config(dict(model=model))


def save_ours(path, config=None, **beside):
    model = randomize(load_model(config or toy_config()))
    torch.save(dict(state_dict=model.state_dict(), **beside), path)
    return path


def convert(source, target, source_format, target_format, **options):
    return convert_checkpoint(
        source, target, source_format=source_format, target_format=target_format, **options
    )


def to_ours(source, source_format=OFFICIAL, **options):
    target = source.with_name('ours.pth')
    return convert(source, target, source_format, OURS, **options), target


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype, key
        assert torch.equal(value, other[key]), key


# --------------------------------------------------------------------------- weights
@pytest.mark.parametrize(('depth', 'decoder_depth'), [(2, 1), (12, 8), (1, 0)])
def test_official_weights_round_trip_bit_for_bit(tmp_path, depth, decoder_depth):
    state = official_state(depth, decoder_depth)
    state['norm.weight'] = state['norm.weight'].half()
    state['norm.bias'][0] = math.nan  # equal bits, not equal numbers
    conversion, ours = to_ours(save_official(tmp_path / 'official.pth', state))
    assert not conversion.unused and not conversion.missing
    convert(ours, tmp_path / 'again.pth', OURS, OFFICIAL)
    again = torch.load(tmp_path / 'again.pth', weights_only=True)
    assert list(again) == ['model']
    assert again['model'].keys() == state.keys()
    for key, value in state.items():
        assert again['model'][key].dtype == value.dtype
        assert again['model'][key].numpy().tobytes() == value.numpy().tobytes(), key


def test_vicmae_weights_round_trip_through_the_official_format(tmp_path):
    ours = save_ours(tmp_path / 'a.pth')
    convert(ours, tmp_path / 'official.pth', OURS, OFFICIAL)
    _, again = to_ours(tmp_path / 'official.pth')
    assert_same(read_weights(again), read_weights(ours))


def test_weights_round_trip_through_safetensors_bit_for_bit(tmp_path):
    ours = save_ours(tmp_path / 'a.pth')
    convert(ours, tmp_path / 'a.safetensors', OURS, OURS)
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        assert file.metadata()['converted_from'] == OURS
    assert_same(read_weights(tmp_path / 'a.safetensors'), read_weights(ours))
    convert(tmp_path / 'a.safetensors', tmp_path / 'official.safetensors', OURS, OFFICIAL)
    _, again = to_ours(tmp_path / 'official.safetensors')
    assert_same(read_weights(again), read_weights(ours))


def test_truncated_safetensors_are_refused(tmp_path):
    convert(save_ours(tmp_path / 'a.pth'), tmp_path / 'a.safetensors', OURS, OURS)
    content = (tmp_path / 'a.safetensors').read_bytes()
    (tmp_path / 'a.safetensors').write_bytes(content[:-9])
    with pytest.raises(CheckpointError, match="Can't read '.*a.safetensors' as safetensors"):
        read_weights(tmp_path / 'a.safetensors')


def test_official_names_are_those_of_the_official_code(tmp_path):
    convert(save_ours(tmp_path / 'a.pth'), tmp_path / 'official.pth', OURS, OFFICIAL)
    written = read_weights(tmp_path / 'official.pth')
    shapes = encoder_shapes() | decoder_shapes() | projector_shapes()
    assert {key: tuple(value.shape) for key, value in written.items()} == shapes


def reference_features(p, images):
    """Computes a ViT from its formulas, with official names: the mean over the patch tokens."""

    def layer_norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        return centred / (variance + 1e-6).sqrt() * p[f'{name}.weight'] + p[f'{name}.bias']

    def apply(name, x):
        return x @ p[f'{name}.weight'].T + p[f'{name}.bias']

    def attend(name, x):
        q, k, v = apply(f'{name}.qkv', x).split(WIDTH, dim=-1)
        heads = []
        for own in torch.arange(WIDTH).chunk(NUM_HEADS):
            scores = q[..., own] @ k[..., own].mT / math.sqrt(WIDTH // NUM_HEADS)
            heads.append(scores.softmax(-1) @ v[..., own])
        return apply(f'{name}.proj', torch.cat(heads, dim=-1))

    x = F.conv2d(
        images, p['patch_embed.proj.weight'], p['patch_embed.proj.bias'], stride=PATCH_SIZE
    )
    x = torch.cat([p['cls_token'].expand(len(x), -1, -1), x.flatten(2).mT], dim=1) + p['pos_embed']
    for i in range(2):
        x = x + attend(f'blocks.{i}.attn', layer_norm(f'blocks.{i}.norm1', x))
        hidden = apply(f'blocks.{i}.mlp.fc1', layer_norm(f'blocks.{i}.norm2', x))
        x = x + apply(f'blocks.{i}.mlp.fc2', hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
    return layer_norm('norm', x)[:, 1:].mean(dim=1)


def test_model_of_converted_weights_computes_the_reference_features(tmp_path):
    state = official_state()
    _, ours = to_ours(save_official(tmp_path / 'official.pth', state))
    model = load_model(toy_config(), ours).double()
    images = torch.randn(3, 3, 16, 16).double()
    expected = reference_features({key: value.double() for key, value in state.items()}, images)
    torch.testing.assert_close(model.extract_feat(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('pos_embed_type', ['separable', 'joint'])
def test_clip_model_of_converted_weights_computes_the_reference_features_of_still_clips(
    tmp_path, pos_embed_type
):
    state = official_state()
    _, ours = to_ours(save_official(tmp_path / 'official.pth', state))
    weights = read_weights(ours)
    backbone = dict(num_frames=8, tubelet_size=2, pos_embed_type=pos_embed_type)
    model = MODELS.build(toy_vicmae_config()['backbone'] | backbone)
    model.load_state_dict(
        {k.removeprefix('backbone.'): v for k, v in weights.items() if k.startswith('backbone.')}
    )
    model.eval()
    images = torch.randn(2, 3, 16, 16)
    (tokens,) = model(images.unsqueeze(2).expand(-1, -1, 8, -1, -1))
    expected = reference_features(state, images)
    torch.testing.assert_close(tokens[:, 1:].mean(dim=1), expected, rtol=1e-4, atol=1e-5)


def test_converted_checkpoint_names_its_source_format(tmp_path):
    _, ours = to_ours(save_official(tmp_path / 'official.pth', official_state()))
    content = torch.load(ours, weights_only=True)
    assert content.keys() == {'meta', 'state_dict'}
    assert content['meta']['converted_from'] == OFFICIAL
    assert re.fullmatch(r'\d+\.\d+\.\d+.*', content['meta']['vicmae_version'])


def test_ddp_prefix_is_removed(tmp_path):
    state = official_state()
    prefixed = {f'module.{key}': value for key, value in state.items()}
    conversion, _ = to_ours(save_official(tmp_path / 'official.pth', prefixed))
    assert [entry.source for entry in conversion.mapped] == list(state)


# --------------------------------------------------------------- every key is reported
def keys_of(checkpoint_format, *, depth=2, decoder_depth=1):
    """Returns the keys of the toy model in a format."""
    if checkpoint_format == OURS:
        config = toy_config()
        config.model.backbone.arch.num_layers = depth
        config.model.neck.depth = decoder_depth
        return set(load_model(config).state_dict())
    shapes = encoder_shapes(depth) | decoder_shapes(decoder_depth)
    return set(shapes if checkpoint_format == 'mae' else shapes | projector_shapes())


def gappy(state):
    return {key: value for key, value in state.items() if not key.startswith('blocks.1.')}


def fine_tuned(state):
    """Returns a fine-tuned MAE: no decoder, a classifier, and another final norm."""
    kept = {key: state[key] for key in encoder_shapes() if not key.startswith('norm.')}
    return kept | draw(norm('fc_norm', WIDTH) | linear('head', WIDTH, 10))


CASES = {
    'official': (official_state, OFFICIAL, OURS, {}),
    'official with a gap': (lambda: gappy(official_state(3)), OFFICIAL, OURS, dict(depth=3)),
    'official read as MAE': (official_state, 'mae', OURS, {}),
    'MAE': (lambda: draw(encoder_shapes() | decoder_shapes()), 'mae', OURS, {}),
    'MAE read as official': (lambda: draw(encoder_shapes() | decoder_shapes()), OFFICIAL, OURS, {}),
    'encoder of MAE': (lambda: draw(encoder_shapes()), 'mae', OURS, dict(decoder_depth=0)),
    'fine-tuned MAE': (lambda: fine_tuned(official_state()), 'mae', OURS, dict(decoder_depth=0)),
    'ours to official': (lambda: load_model(toy_config()).state_dict(), OURS, OFFICIAL, {}),
    'ours to MAE': (lambda: load_model(toy_config()).state_dict(), OURS, 'mae', {}),
    "the paper's layout": (
        lambda: load_model(Config(dict(model=toy_vicmae_config()))).state_dict(),
        OURS,
        OFFICIAL,
        {},
    ),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_mapped_unused_and_missing_are_complete(tmp_path, case):
    make, source_format, target_format, depths = case
    state = make()
    torch.save(dict(model=state), tmp_path / 'in.pth')
    conversion = convert(tmp_path / 'in.pth', tmp_path / 'out.pth', source_format, target_format)
    mapped = [entry.target for entry in conversion.mapped]
    read = [entry.source for entry in (*conversion.mapped, *conversion.unused)]
    assert sorted(read) == sorted(state)
    assert sorted([*mapped, *conversion.missing]) == sorted(keys_of(target_format, **depths))
    written = read_weights(tmp_path / 'out.pth')
    assert set(written) == set(mapped)
    for entry in conversion.mapped:
        assert torch.equal(written[entry.target], state[entry.source]), entry
        assert entry.shape == tuple(state[entry.source].shape)
    text = str(conversion)
    assert all(name in text for name in (*read, *mapped, *conversion.missing))


def test_encoder_of_mae_lacks_decoder_and_projector(tmp_path):
    torch.save(dict(model=draw(encoder_shapes())), tmp_path / 'in.pth')
    conversion, ours = to_ours(tmp_path / 'in.pth', 'mae')
    assert not conversion.unused
    assert conversion.absent == ['decoder', 'projector']
    assert {key.partition('.')[0] for key in conversion.missing} == {'neck', 'projector'}
    assert '\n  decoder: absent\n' in str(conversion)
    with pytest.raises(CheckpointError, match=r'36 missing from the checkpoint: neck.mask_token'):
        load_model(toy_config(), ours)


def test_keys_of_a_classifier_are_unused_or_missing(tmp_path):
    torch.save(dict(model=fine_tuned(official_state())), tmp_path / 'in.pth')
    conversion, _ = to_ours(tmp_path / 'in.pth', 'mae')
    assert [entry.source for entry in conversion.unused] == [
        'fc_norm.weight',
        'fc_norm.bias',
        'head.weight',
        'head.bias',
    ]
    assert '\n  head.weight (10, 16) (not in `vicmae`)\n' in str(conversion)
    assert {'backbone.ln1.weight', 'backbone.ln1.bias'} <= set(conversion.missing)


def test_parts_of_the_papers_model_that_the_official_code_lacks_are_unused(tmp_path):
    ours = save_ours(tmp_path / 'a.pth', Config(dict(model=toy_vicmae_config())))
    conversion = convert(ours, tmp_path / 'official.pth', OURS, OFFICIAL)
    assert {entry.source.partition('.')[0] for entry in conversion.unused} == {
        'predictor',
        'target',
    }
    assert set(conversion.missing) == set(projector_shapes())
    assert conversion.absent == ['projector']


def test_gap_in_the_layers_is_missing(tmp_path):
    torch.save(dict(model=gappy(official_state(3))), tmp_path / 'in.pth')
    conversion, _ = to_ours(tmp_path / 'in.pth')
    assert len(conversion.missing) == 12
    assert all(key.startswith('backbone.layers.1.') for key in conversion.missing)


def test_tensor_of_another_kind_is_not_mapped(tmp_path):
    state = official_state()
    state['pos_embed'] = torch.ones(1, 4, 4, WIDTH)  # by row and column
    state['projector.4.weight'] = torch.ones(8, 16)  # a projector without norms
    state['norm.bias'] = 'a text'
    torch.save(dict(model=state), tmp_path / 'in.pth')
    conversion, _ = to_ours(tmp_path / 'in.pth')
    assert [tuple(entry) for entry in conversion.unused] == [
        ('pos_embed', (1, 4, 4, 16), '4 dimensions instead of 3'),
        ('norm.bias', None, 'str instead of a tensor'),
        ('projector.4.weight', (8, 16), '2 dimensions instead of 1'),
    ]
    assert sorted(conversion.missing) == [
        'backbone.ln1.bias',
        'backbone.pos_embed',
        'projector.4.weight',
    ]
    assert '\n  norm.bias (str instead of a tensor)\n' in str(conversion)


CLIPS = torch.ones(WIDTH, 3, 2, PATCH_SIZE, PATCH_SIZE)
PATCHES, OUR_PATCHES = 'patch_embed.proj.weight', 'backbone.patch_embed.projection.weight'


@pytest.mark.parametrize('target_format', ['mae', OFFICIAL])
def test_model_of_clips_has_no_format_of_image_models(tmp_path, target_format):
    state = load_model(toy_config()).state_dict() | {OUR_PATCHES: CLIPS}
    torch.save(state, tmp_path / 'in.pth')
    message = f"in.pth' can't be converted to `{target_format}`: it is of a model of clips .`{OUR_PATCHES}` has 5"
    with pytest.raises(CheckpointError, match=f'{message}.*model.pretrained=.*in.pth'):
        convert(tmp_path / 'in.pth', tmp_path / 'out.pth', OURS, target_format)
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s | {PATCHES: CLIPS}, 'model of clips .* are: mae-st, videomae'),
        (
            lambda s: {'pos_embed': s['pos_embed'], 'x': s['norm.bias']},
            'no patch embedding .* and no layers .*: pos_embed, x',
        ),
        (
            lambda s: {k: v for k, v in s.items() if not k.startswith('blocks.')},
            'have no layers .`backbone.layers.0',
        ),
        (
            lambda s: {k: v for k, v in s.items() if k != PATCHES},
            'have no patch embedding .`backbone',
        ),
    ],
    ids=['clips', 'nearly empty', 'no layers', 'no patches'],
)
def test_file_without_an_encoder_is_not_converted(tmp_path, change, message):
    torch.save(dict(model=change(official_state())), tmp_path / 'in.pth')
    with pytest.raises(CheckpointError, match=message):
        to_ours(tmp_path / 'in.pth', 'mae')
    assert not (tmp_path / 'ours.pth').exists()


def test_entries_that_are_not_weights_are_named_and_left_out(tmp_path):
    conversion, _ = to_ours(save_official(tmp_path / 'official.pth', official_state()))
    assert conversion.left_behind == ['optimizer', 'epoch', 'scaler', 'args']
    title = 'left out, as they are not weights'
    assert str(conversion).endswith(f'{title}:\n  optimizer\n  epoch\n  scaler\n  args')
    ours = save_ours(tmp_path / 'a.pth', meta={}, message_hub={}, ema_state_dict={})
    conversion = convert(ours, tmp_path / 'b.pth', OURS, 'mae')
    assert conversion.left_behind == ['meta', 'message_hub', 'ema_state_dict']


def test_json_report_equals_the_text(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state() | draw({'head.bias': (3,)}))
    report = tmp_path / 'new/folder/report.json'
    conversion, _ = to_ours(source, 'mae', report=report)
    content = json.loads(report.read_text())
    assert content.keys() == {
        'source_format',
        'target_format',
        'mapped',
        'computed',
        'unused',
        'missing',
        'absent',
        'left_behind',
        'options',
    }
    assert content['mapped'][0] == dict(
        source='cls_token', target='backbone.cls_token', shape=[1, 1, 16]
    )
    assert content['unused'][-1] == dict(source='head.bias', shape=[3], reason='not in `vicmae`')
    for name in ('mapped', 'unused'):
        entries = [tuple(entry) for entry in getattr(conversion, name)]
        assert [(*e.values(),) for e in content[name]] == [
            tuple(list(v) if isinstance(v, tuple) else v for v in entry) for entry in entries
        ]
    assert content['computed'] == []
    for name in ('source_format', 'target_format', 'missing', 'absent', 'left_behind', 'options'):
        assert content[name] == getattr(conversion, name)


# ----------------------------------------------------------------------------- errors
def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="The checkpoint '.*/no.pth' does not exist"):
        to_ours(tmp_path / 'no.pth')
    (tmp_path / 'text.pth').write_text('weights')
    with pytest.raises(CheckpointError, match='is not a PyTorch checkpoint, or is truncated'):
        to_ours(tmp_path / 'text.pth')
    assert not (tmp_path / 'ours.pth').exists()


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'trap'),)

    namespace = argparse.Namespace(output_dir=Malicious())
    torch.save(dict(model=official_state(), args=namespace), tmp_path / 'in.pth')
    with pytest.raises(CheckpointError, match='without running code'):
        to_ours(tmp_path / 'in.pth')
    assert not (tmp_path / 'trap').exists()


@pytest.mark.parametrize(
    ('make', 'source_format', 'target_format', 'message'),
    [
        (
            lambda: load_model(toy_config()).state_dict(),
            OFFICIAL,
            OURS,
            r'is not a `vicmae-official` checkpoint. It looks like a `vicmae` checkpoint: '
            r'use --from vicmae, with --to vicmae-official or mae\.$',
        ),
        (
            official_state,
            OURS,
            'mae',
            r'It looks like a `vicmae-official` checkpoint: use --from vicmae-official, with --to vicmae\.$',
        ),
        (
            lambda: draw(encoder_shapes()),
            OURS,
            'mae',
            r'It looks like a `mae` checkpoint: use --from mae, with --to vicmae\.$',
        ),
        (
            lambda: draw(linear('fc', 3, 4)),
            'mae',
            OURS,
            r"in.pth' is not a `mae` checkpoint. Its first keys are: fc.weight, fc.bias. "
            rf'The formats are: {", ".join(CHECKPOINT_FORMATS)}\.$',
        ),
    ],
)
def test_file_of_another_format_is_refused_with_its_format(
    tmp_path, make, source_format, target_format, message
):
    torch.save(dict(model=make()), tmp_path / 'in.pth')
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / 'in.pth', tmp_path / 'out.pth', source_format, target_format)
    assert os.listdir(tmp_path) == ['in.pth']


@pytest.mark.parametrize('source_format', [OFFICIAL, 'mae', 'omnimae'])
@pytest.mark.parametrize('target_format', [OFFICIAL, 'mae', 'omnimae'])
def test_formats_without_vicmae_are_refused(tmp_path, source_format, target_format):
    message = (
        f"Can't convert from '{source_format}' to '{target_format}': one of the formats must be 'vicmae'. "
        f'Use --from {source_format} --to vicmae.'
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        convert(tmp_path / 'no.pth', tmp_path / 'out.pth', source_format, target_format)


@pytest.mark.parametrize('other', [OURS, OFFICIAL, 'mae'])
def test_formats_are_converted_both_ways(tmp_path, other):
    for formats in [(OURS, other), (other, OURS)]:
        with pytest.raises(CheckpointError, match='does not exist'):
            convert(tmp_path / 'no.pth', tmp_path / 'out.pth', *formats)


def test_unknown_format_is_refused_with_the_choices(tmp_path):
    with pytest.raises(ConfigError, match="format 'jax'. Use one of: vicmae, vicmae-official, mae"):
        convert(tmp_path / 'no.pth', tmp_path / 'out.pth', 'jax', OURS)


@pytest.mark.parametrize('output', ['checkpoint', 'report'])
def test_existing_file_is_kept_without_force(tmp_path, output):
    source = save_official(tmp_path / 'in.pth', official_state())
    paths = dict(checkpoint=tmp_path / 'ours.pth', report=tmp_path / 'report.json')
    paths[output].write_text('mine')
    with pytest.raises(
        CheckpointError, match=f'.{paths[output]}. already exists.*overwrite it with --force'
    ):
        to_ours(source, report=paths['report'])
    assert paths[output].read_text() == 'mine'
    assert len(os.listdir(tmp_path)) == 2
    to_ours(source, report=paths['report'], force=True)
    assert len(read_weights(paths['checkpoint'])) == len(official_state())
    assert json.loads(paths['report'].read_text())['missing'] == []


@pytest.mark.parametrize('link', [False, True])
@pytest.mark.parametrize('output', ['checkpoint', 'report'])
def test_source_checkpoint_is_never_overwritten(tmp_path, output, link):
    source = save_official(tmp_path / 'in.pth', official_state())
    before = source.read_bytes()
    path = tmp_path / 'link.pth' if link else source
    if link:
        path.symlink_to(source)
    outputs = {'checkpoint': tmp_path / 'a.pth', 'report': tmp_path / 'b.json'} | {output: path}
    with pytest.raises(
        CheckpointError, match=f"'{path}' is the checkpoint to convert and can't be"
    ):
        convert(source, outputs['checkpoint'], OFFICIAL, OURS, report=outputs['report'], force=True)
    assert source.read_bytes() == before


def test_checkpoint_and_report_must_be_two_files(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    with pytest.raises(CheckpointError, match="can't both be written to '.*ours.pth'"):
        to_ours(source, report=tmp_path / '../' / tmp_path.name / 'ours.pth')


def test_output_that_is_a_folder_is_refused(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    with pytest.raises(CheckpointError, match='it is a folder. Name a file in it'):
        convert(source, tmp_path, OFFICIAL, OURS, force=True)


def test_folder_that_cannot_be_created_is_refused(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    with pytest.raises(
        ConfigError,
        match="Can't write to `target` '.*in.pth/a': Not a directory. Choose another",
    ):
        convert(source, source / 'a/b.pth', OFFICIAL, OURS)


def test_missing_folders_are_created(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    convert(source, tmp_path / 'some/where/out.pth', OFFICIAL, OURS)
    assert os.listdir(tmp_path / 'some/where') == ['out.pth']


def test_overwriting_keeps_hard_links_unchanged(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    (tmp_path / 'other.pth').write_text('mine')
    os.link(tmp_path / 'other.pth', tmp_path / 'ours.pth')
    to_ours(source, force=True)  # the old file is replaced, not written into
    assert (tmp_path / 'other.pth').read_text() == 'mine'


@alone
def test_checkpoint_is_written_atomically(tmp_path):
    source = save_official(tmp_path / 'in.pth', official_state())
    _, target = to_ours(source)
    before = target.read_bytes()
    limit_files(len(before) // 2)
    with pytest.raises(CheckpointError, match=f"Can't write '{target}': .*Free some space"):
        to_ours(source, force=True)
    assert target.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ['in.pth', 'ours.pth']


@pytest.mark.parametrize(
    'layers', [dict(norm=None), dict(num_blocks=1), dict(num_blocks=3), dict(norm='LN')]
)
def test_projector_with_other_layers_is_not_mapped(tmp_path, layers):
    # Its layers have numbers that the official one has, too.
    head = dict(type='MLPHead', hidden_dim=16, out_dim=8, **layers)
    config = toy_config()
    config.model.projector = head
    source = save_ours(tmp_path / 'ours.pth', config)
    conversion = convert(source, tmp_path / 'official.pth', OURS, OFFICIAL)
    unused = {entry.source: entry.reason for entry in conversion.unused}
    assert not any(entry.source.startswith('projector.') for entry in conversion.mapped)
    assert 'projector is not Linear-norm-ReLU' in unused['projector.0.weight']
    assert 'projector.6.weight' in conversion.missing
