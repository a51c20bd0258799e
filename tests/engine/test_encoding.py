# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of rows are those of a slow loop, whatever the batches, and the same to the last bit in equal ones."""

import numpy as np
import pytest
import torch

from vicmae.datasets.clip_reader import ClipReader
from vicmae.engine.encoding import RowEncoder
from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config


def make_model(aggregator='MeanPooling', **backbone):
    config = toy_vicmae_config()
    model = MODELS.build(
        dict(
            type='FrozenFeatures',
            backbone=dict(config['backbone'], **backbone),
            aggregator=dict(type=aggregator),
            data_preprocessor=config['data_preprocessor'],
        )
    )
    model.backbone.warns_of_resizing = False
    return randomize(model).eval()


MODELS_OF = dict(frames={}, clips=dict(num_frames=4, tubelet_size=2))


@pytest.fixture(params=list(MODELS_OF))
def model(request):
    return make_model(**MODELS_OF[request.param])


def inputs(*lengths):
    """Images where a length is 0, else videos."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 255, ((n,) if n else ()) + (20, 20, 3)).astype(np.uint8) for n in lengths
    ]


def reader_of(model, output='pooled'):
    takes_clips = model.backbone.takes_clips
    per_frame = output != 'pooled' and not takes_clips
    return ClipReader(16, 4, takes_clips=takes_clips, per_frame=per_frame)


def encode(model, sources, *, batch_size=3, output='pooled', pads=False):
    encoder, reader = (
        RowEncoder(model, batch_size=batch_size, output=output, pads=pads),
        reader_of(model, output),
    )
    rows = []
    for number, source in enumerate(sources):
        encoder.begin()
        for piece in reader(source):
            rows += encoder.add(number, piece)
    return rows + list(encoder.finish())


def clip_of(model, source):
    """The normalised clip of an input, read as for a model of clips: (T, C, H, W)."""
    piece = next(ClipReader(16, 4, takes_clips=True)(source))
    return model.data_preprocessor.normalize(torch.from_numpy(piece.units[0]))


SOURCES = (5, 0, 9, 0, 0, 4, 3, 0)


@pytest.mark.parametrize('batch_size', [1, 3, 64])
@torch.no_grad()
def test_pooled_features_are_those_of_clips_one_by_one(model, batch_size):
    sources = inputs(*SOURCES)
    rows = encode(model, sources, batch_size=batch_size)
    assert [row.source for row in rows] == list(range(len(sources)))
    expected = torch.cat([model.extract_clip_feat([clip_of(model, source)]) for source in sources])
    torch.testing.assert_close(torch.stack([row.feature for row in rows]), expected)


@pytest.mark.parametrize('kind', list(MODELS_OF))
@pytest.mark.parametrize(
    'over_time',
    [dict(type='AttentionOverTime', in_dim=16, num_heads=2), dict(type='StatisticsOverTime')],
    ids=lambda config: config['type'],
)
@torch.no_grad()
def test_frames_are_joined_as_the_model_does(kind, over_time):
    model, sources = make_model(**MODELS_OF[kind]), inputs(5, 0, 9)
    model.join_over_time(MODELS.build(over_time).eval())
    expected = torch.cat([model.extract_clip_feat([clip_of(model, source)]) for source in sources])
    rows = encode(model, sources)
    torch.testing.assert_close(torch.stack([row.feature for row in rows]), expected)


@torch.no_grad()
def test_dense_features_are_the_patch_tokens(model):
    source = inputs(9)[0]
    rows = encode(model, [source], output='dense')
    clip = clip_of(model, source)
    takes_clips = model.backbone.takes_clips
    (tokens,) = model.backbone(clip.transpose(0, 1)[None] if takes_clips else clip)
    patches = tokens[:, 1:]
    length = 2 if takes_clips else 1
    assert len(rows) == 4 // length
    side = 16 // model.backbone.patch_size[-1]
    expected = patches.reshape(len(rows), side, side, -1)
    torch.testing.assert_close(torch.stack([row.feature for row in rows]), expected)
    assert (
        [row.frames for row in rows] == [(1, 3), (5, 7)]
        if takes_clips
        else [(1,), (3,), (5,), (7,)]
    )


@torch.no_grad()
def test_frame_features_are_the_means_of_their_patches(model):
    sources = inputs(9, 0)
    frames = encode(model, sources, output='frames')
    dense = encode(model, sources, output='dense')
    for row, patches in zip(frames, dense, strict=True):
        assert row[:3] == patches[:3]
        torch.testing.assert_close(row.feature, patches.feature.mean(dim=(0, 1)))


def test_padded_batches_give_the_same_bits_whatever_follows(model):
    many = encode(model, inputs(*SOURCES), pads=True, batch_size=4)
    for end in range(1, len(SOURCES)):
        few = encode(model, inputs(*SOURCES)[:end], pads=True, batch_size=4)
        if not model.backbone.takes_clips:
            assert all(torch.equal(a.feature, b.feature) for a, b in zip(few, many, strict=False))
        assert [row.source for row in few] == list(range(end))
    again = encode(model, inputs(*SOURCES), pads=True, batch_size=4)
    assert all(torch.equal(a.feature, b.feature) for a, b in zip(again, many, strict=True))


def test_every_batch_is_full_if_padded(model, monkeypatch):
    seen = set()
    forward = model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda x: seen.add(len(x)) or forward(x))
    encode(model, inputs(*SOURCES), pads=True, batch_size=5)
    assert seen == {5}


def test_image_does_not_hold_up_clips_that_follow():
    model = make_model(**MODELS_OF['clips'])
    encoder, reader = RowEncoder(model, batch_size=2), reader_of(model)
    most = 0
    for number, source in enumerate(inputs(0, *[4] * 40)):
        encoder.begin()
        for piece in reader(source):
            list(encoder.add(number, piece))
        most = max(most, len(encoder._rows), len(encoder._features))
    assert most <= 11


def test_shared_frames_are_encoded_once(monkeypatch):
    model, seen = make_model(), []
    forward = model.backbone.forward
    monkeypatch.setattr(model.backbone, 'forward', lambda x: seen.append(len(x)) or forward(x))
    encode(model, inputs(2))  # two frames, which are repeated
    assert sum(seen) == 2


def test_steps_of_a_clip_need_patches():
    model = make_model('ClsPooling', **MODELS_OF['clips'])
    with pytest.raises(ConfigError, match='ClsPooling takes the class token'):
        encode(model, inputs(5), output='frames')


@pytest.mark.parametrize(
    ('options', 'name'), [(dict(batch_size=0), 'batch_size'), (dict(output='all'), 'output')]
)
def test_wrong_options_are_refused(options, name):
    with pytest.raises(ValueError, match=f'`{name}` must be'):
        RowEncoder(make_model(), **{'batch_size': 1, **options})
