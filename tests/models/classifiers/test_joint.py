# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One backbone with a head for images and a head for videos."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmpretrain.structures import DataSample
from torch.nn.parallel import DistributedDataParallel

from vicmae.errors import ConfigError, DataError
from vicmae.registry import MODELS
from vicmae.structures import NO_LABEL
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size

CLASSES = dict(images=3, videos=4)
WEIGHTS = dict(images=0.5, videos=2.0)


CLIPS = dict(num_frames=2, tubelet_size=2)


def joint_config(clips=True, **changes):
    """The config of a model whose backbone encodes clips, or frames."""
    config = toy_transfer_config(
        type='SupervisedJoint',
        data_preprocessor=dict(type='JointPreprocessor'),
        heads={n: dict(type='TransferHead', num_classes=c, norm='LN') for n, c in CLASSES.items()},
        loss_weights=WEIGHTS,
    )
    config.pop('head')
    if clips:
        config['backbone'] = {**config['backbone'], **CLIPS}
    return {**config, **changes}


def build(**changes):
    return randomize(MODELS.build(joint_config(**changes)))


def make_sample(label, source, **meta):
    return DataSample(metainfo=dict(path='a.jpg', source=source, **meta)).set_gt_label(label)


def make_batch(num_frames=2):
    """Six labelled images and clips in disorder, as the loader delivers them, and one without a label."""
    generator = torch.Generator().manual_seed(3)
    image, clip = (3, 16, 16), (num_frames, 3, 16, 16)
    rows = [
        (image, 0, 'images'),
        (clip, 3, 'videos'),
        (image, 2, 'images'),
        (image, NO_LABEL, 'images'),
        (clip, 1, 'videos'),
        (image, 2, 'images'),
        (clip, 0, 'videos'),
    ]
    inputs = [
        torch.randint(256, shape, generator=generator, dtype=torch.uint8) for shape, *_ in rows
    ]
    return dict(inputs=inputs, data_samples=[make_sample(*row[1:]) for row in rows])


def select(batch, rows):
    return {key: [batch[key][row].clone() for row in rows] for key in batch}


LABELLED = [0, 1, 2, 4, 5, 6]


def losses_of(model, batch):
    """The losses of a batch from the loader."""
    prepared = model.data_preprocessor(select(batch, range(len(batch['inputs']))), True)
    return model(**prepared, mode='loss')


def total_of(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def loss_and_gradients(model, batch):
    model.zero_grad(set_to_none=True)
    total = total_of(losses_of(model, batch))
    total.backward()
    return total.detach(), {name: p.grad for name, p in model.named_parameters()}


def assert_equal(results, expected, **tolerance):
    torch.testing.assert_close(results[0], expected[0], **tolerance)
    torch.testing.assert_close(results[1], expected[1], **tolerance)


def loop_over_samples(features, labels, heads, weights):
    """The loss, and its gradients with respect to features, and to weights and biases of heads, in NumPy."""
    loss, num_labelled = 0.0, sum(label != NO_LABEL for _, label in labels)
    of_features = np.zeros_like(features)
    of_heads = {name: [np.zeros_like(w), np.zeros_like(b)] for name, (w, b) in heads.items()}
    for row, (name, label) in enumerate(labels):
        if label == NO_LABEL:
            continue
        weight, bias = heads[name]
        scores = weight @ features[row] + bias
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        loss -= weights[name] / num_labelled * np.log(shares[label])
        error = shares.copy()
        error[label] -= 1
        error *= weights[name] / num_labelled
        of_features[row] = weight.T @ error
        of_heads[name][0] += np.outer(error, features[row])
        of_heads[name][1] += error
    return loss, of_features, of_heads


@pytest.mark.parametrize('clips', [True, False], ids=['backbone of clips', 'backbone of images'])
def test_loss_and_gradients_equal_a_loop_over_samples(clips):
    heads = {n: dict(type='TransferHead', num_classes=c) for n, c in CLASSES.items()}
    model, batch = build(clips=clips, heads=heads).double(), make_batch()
    model.data_preprocessor.normalize = lambda pixels: pixels.double() / 255
    total, found = loss_and_gradients(model, batch)
    pixels = [x.double() / 255 for x in batch['inputs']]
    features = model.extract_clip_feat([x if x.ndim == 4 else x[None] for x in pixels])
    labels = [(s.source, int(s.gt_label)) for s in batch['data_samples']]
    layers = {
        n: (h.fc.weight.detach().numpy(), h.fc.bias.detach().numpy())
        for n, h in model.heads.items()
    }
    loss, of_features, of_heads = loop_over_samples(
        features.detach().numpy(), labels, layers, WEIGHTS
    )
    assert total.item() == pytest.approx(loss, rel=1e-6)  # mmpretrain's targets are float32
    for name, (weight, bias) in of_heads.items():
        torch.testing.assert_close(found[f'heads.{name}.fc.weight'], torch.from_numpy(weight))
        torch.testing.assert_close(found[f'heads.{name}.fc.bias'], torch.from_numpy(bias))
    model.zero_grad(set_to_none=True)
    features.backward(torch.from_numpy(of_features))
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[f'backbone.{name}'], parameter.grad)


def test_sample_without_a_label_changes_nothing():
    model, batch = build(), make_batch()
    with_it = loss_and_gradients(model, batch)
    assert_equal(with_it, loss_and_gradients(model, select(batch, LABELLED)))


def test_sample_without_a_label_needs_no_head():
    batch = make_batch()
    batch['data_samples'][3].set_metainfo(dict(source='unknown'))
    assert total_of(losses_of(build(), batch)) > 0


def test_order_of_samples_does_not_matter():
    model, batch = build(), make_batch()
    rows = [5, 3, 6, 0, 1, 4, 2]
    assert_equal(loss_and_gradients(model, select(batch, rows)), loss_and_gradients(model, batch))


def test_grouping_into_batches_of_one_kind_does_not_matter():
    model, batch = build(), make_batch()
    expected = loss_and_gradients(model, batch)
    parts = [loss_and_gradients(model, select(batch, rows)) for rows in ([0, 2, 3, 5], [1, 4, 6])]
    mean = sum(total for total, _ in parts) / 2  # three labelled samples each
    gradients = {
        n: sum(part[n] for _, part in parts) / 2 for n in expected[1] if parts[0][1][n] is not None
    }
    assert_equal((mean, gradients), (expected[0], {n: expected[1][n] for n in gradients}))
    assert {n for n, g in expected[1].items() if g is None} == {
        n for n, g in parts[0][1].items() if g is None
    }


def test_head_without_a_sample_gets_a_gradient_of_zero():
    model, batch = build(), make_batch()
    losses = losses_of(model, select(batch, [0, 2]))
    total_of(losses).backward()
    assert losses['loss_videos'] == 0
    assert 'accuracy_videos' not in losses
    assert all(p.grad.abs().max() == 0 for p in model.heads['videos'].parameters())
    assert all(p.grad.abs().max() > 0 for p in model.heads['images'].parameters())


def test_batch_without_any_label_gives_zero_loss_and_gradients():
    model, batch = build(), make_batch()
    total, gradients = loss_and_gradients(model, select(batch, [3, 3]))
    assert total == 0
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert all(gradients[name].abs().max() == 0 for name in trained)


def test_accuracy_is_that_of_the_samples_of_a_head():
    model, batch = build().eval(), make_batch()
    losses = losses_of(model, batch)
    clips = [
        model.data_preprocessor.normalize(x if x.ndim == 4 else x[None]) for x in batch['inputs']
    ]
    samples = model.predict(clips, batch['data_samples'])
    for name in CLASSES:
        right = [
            int(s.pred_label) == int(s.gt_label)
            for s in samples
            if s.source == name and int(s.gt_label) != NO_LABEL
        ]
        assert float(losses[f'accuracy_{name}']) == pytest.approx(100 * np.mean(right))


def share_of_rank(batch, order):
    """Losses and gradients of this rank's share of a batch, averaged over the ranks."""
    rank, world_size = rank_and_world_size()
    torch.manual_seed(0)
    model = build()
    wrapped = DistributedDataParallel(model) if dist.is_initialized() else model
    size = len(order) // world_size
    own = select(batch, order[rank * size : (rank + 1) * size])
    total = total_of(wrapped(**model.data_preprocessor(own, True), mode='loss'))
    total.backward()
    total = total.detach()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total / world_size, {n: p.grad for n, p in model.named_parameters()}


# On two ranks, one has images alone; on three, one has a single labelled sample.
@pytest.mark.parametrize('world_size', [2, 3, 1])
def test_loss_and_gradients_are_the_same_on_any_number_of_ranks(gloo_pool, world_size):
    batch, order = make_batch(), [0, 3, 2, 1, 4, 6]
    expected = share_of_rank(batch, order)
    for results in gloo_pool.run(share_of_rank, world_size, batch, order):
        assert_equal(results, expected, rtol=1e-4, atol=1e-6)


def test_prediction_is_by_the_head_of_the_sample_and_the_mean_over_its_views():
    model = build().eval()
    image, clips = torch.randn(1, 3, 16, 16), torch.randn(3, 2, 3, 16, 16)
    samples = model(
        [image, clips], [make_sample(0, 'images'), make_sample(1, 'videos')], mode='predict'
    )
    for sample, views, name in zip(samples, [image[None], clips], CLASSES, strict=True):
        features = torch.stack([model.extract_clip_feat([view])[0] for view in views])
        scores = model.heads[name]((features,)).softmax(dim=1)
        torch.testing.assert_close(sample.pred_score, scores.mean(dim=0))
        assert (sample.head, len(sample.pred_score)) == (name, CLASSES[name])
    assert samples[1].view_scores.shape == (3, 4)
    assert 'view_scores' not in samples[0]


def test_tag_of_a_source_chooses_its_head():
    model = build().eval()
    sample = make_sample(0, 'places', head='images')
    (predicted,) = model.predict([torch.randn(1, 3, 16, 16)], [sample])
    assert predicted.head == 'images'


def test_backbone_starts_from_a_checkpoint_and_stays_frozen(tmp_path):
    source = randomize(MODELS.build(toy_vicmae_config()), seed=3)
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'pretrained.pth')
    options = dict(pretrained=str(tmp_path / 'pretrained.pth'), freeze_backbone=True)
    model = build(clips=False, **options)
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert value.equal(source.backbone.state_dict()[name]), name
    _, gradients = loss_and_gradients(model, make_batch())
    assert {name for name, g in gradients.items() if g is not None} == {
        n for n, _ in model.named_parameters() if n.startswith('heads.')
    }


def test_heads_have_the_depth_of_the_output():
    model = build()
    depths = {model.get_layer_depth(f'heads.{n}.fc.weight') for n in CLASSES}
    assert depths == {(3, 4)}  # two layers, between patches and heads


def test_head_set_to_none_is_left_out():
    model = build(heads=dict(joint_config()['heads'], images=None), loss_weights=dict(videos=1.0))
    assert list(model.heads) == list(model.data_preprocessor.num_classes) == ['videos']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(heads=dict(images=None)),
            'needs a head for each data set, got none. Set .model.heads',
        ),
        (
            dict(loss_weights=dict(clips=1.0)),
            "must name heads .images, videos.* got {'clips': 1.0}",
        ),
        (dict(loss_weights=dict(images=-1.0)), 'weight of at least 0, got .*-1.0'),
        (
            dict(heads=dict(images=dict(type='TransferHead', num_classes=3, norm='BN'))),
            "head 'images' has a batch norm.*model.heads.images.norm='LN'",
        ),
    ],
    ids=str,
)
def test_invalid_options_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(joint_config(loss_weights=None) | changes)


def test_sample_of_a_source_without_a_head_is_refused():
    batch = dict(inputs=[torch.zeros(3, 16, 16)], data_samples=[make_sample(0, 'clips')])
    with pytest.raises(DataError, match="source 'clips'.* has the heads images, videos. Name the"):
        losses_of(build(), batch)
    with pytest.raises(DataError, match="source 'clips'"):
        build().eval().predict([torch.zeros(1, 3, 16, 16)], [make_sample(0, 'clips')])


def test_label_above_the_classes_of_its_head_is_refused():
    batch = dict(inputs=[torch.zeros(3, 16, 16)], data_samples=[make_sample(3, 'images')])
    with pytest.raises(
        DataError, match="label of 'a.jpg' is 3, but the head 'images' has 3 classes"
    ):
        losses_of(build(), batch)
