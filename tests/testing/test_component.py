# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Every registered module passes `check_component`."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from vicmae.models.layers.patchify import gather_tokens
from vicmae.registry import MODELS
from vicmae.testing import (
    check_component,
    toy_transfer_config,
    toy_vicmae_config,
    toy_video_mae_config,
)

VICMAE = toy_vicmae_config()
PARTS = {name: VICMAE[name] for name in ('data_preprocessor', 'backbone', 'aggregator')}
MASKING = VICMAE['backbone']['masking']


def views():
    """Two views of eight images."""
    return [torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8) for _ in range(2)]


def clips():
    """One view of four clips of four frames."""
    return [torch.randint(256, (4, 3, 4, 16, 16), dtype=torch.uint8)]


def labelled():
    """Eight images of four classes."""
    sources = [dict(source=name) for name in ('images', 'videos')]  # for models with several heads
    samples = [DataSample(metainfo=sources[i % 2]).set_gt_label(i % 4) for i in range(8)]
    return dict(inputs=list(views()[0]), data_samples=samples)


def total_loss(data):
    """What a step of training minimises."""

    def call(model):
        losses = model._run_forward(model.data_preprocessor(data(), True), mode='loss')
        return model.parse_losses(losses)[0]

    return call


def features(model):
    """What an evaluation compares."""
    clips = [dict(inputs=[view[None]], data_samples=[DataSample()]) for view in views()[0]]
    samples = [model.test_step(clip)[0] for clip in clips]
    return torch.stack([sample.feature for sample in samples])


def pooled(aggregator):
    return aggregator(torch.rand(2, 9, 8), torch.rand(2, 1, 8))


def pooled_over_time(aggregator):
    return aggregator(torch.rand(2, 5, 8))


def contrast(loss):
    return loss(torch.randn(2, 6, 8), torch.randn(2, 6, 8))


def embeddings(target):
    return target(torch.randn(2, 6, 8), torch.randn(2, 6, 8), torch.randn(2, 6, 8))


def values_kept(masking):
    """What is left of patches, on a grid of 4 x 4."""
    mask = masking(2, (1, 4, 4), torch.device('cpu'))
    return gather_tokens(torch.randn(2, 16, 8), mask.ids_keep)


def decode(neck):
    mask = MODELS.build(MASKING)(2, (1, 4, 4), torch.device('cpu'))
    return neck(torch.randn(2, 5, 16), mask)


def in_parts(cache):
    mask = MODELS.build(MASKING)(8, (1, 4, 4), torch.device('cpu'))
    encode = lambda x, mask: dict(pooled=x.mean(dim=(2, 3)))  # noqa: E731
    teach = lambda x, mask: {}  # noqa: E731
    return cache(encode, teach, torch.randn(8, 3, 16, 16), mask)['pooled']


def pixels(data):
    """What a preprocessor makes of the first batch of images."""
    return lambda module: module(data(), training=True)['inputs'][0]


# Of each type, by its name: its other arguments, what is computed, the shape of that, arguments that are parts.
EXAMPLES = {
    'AttentionOverTime': (dict(in_dim=8, num_heads=2), pooled_over_time, (2, 8)),
    'AttentionPooling': (dict(in_dim=8, num_heads=2), pooled, (2, 8)),
    'BlockMasking': (dict(), values_kept, (2, 4, 8)),
    'ChannelShareHead': (
        dict(in_dim=8, hidden_dim=16, out_dim=4),
        lambda m: m(torch.randn(6, 8)),
        (6, 4),
    ),
    'ClsPooling': (dict(), pooled, (2, 8)),
    'ContrastiveCache': (dict(num_parts=2), in_parts, (8, 3)),
    'CosineLoss': (dict(), contrast, ()),
    # It gets its teacher from the model.
    'EMATarget': (
        dict(VICMAE, target=dict(type='EMATarget')),
        total_loss(lambda: dict(inputs=views())),
        (),
    ),
    'FrameOrderLoss': (
        dict(in_dim=8, hidden_dim=16),
        lambda m: m(torch.randn(2, 6, 8), torch.rand(2, 6))['order'],
        (),
    ),
    'FrameMasking': (dict(), values_kept, (2, 4, 8)),
    'FrozenFeatures': (dict(PARTS), features, (8, 16)),
    'GeMPooling': (dict(), pooled, (2, 8)),
    'ImageOrClipMasking': (
        dict(image=MASKING, clip=dict(type='TubeMasking')),
        values_kept,
        (2, 4, 8),
    ),
    'InfoNCELoss': (dict(), contrast, ()),
    'JointPreprocessor': (
        dict(num_classes=dict(images=4, videos=4), mixup_alpha=0.8, cutmix_alpha=1.0),
        pixels(labelled),
        (3, 16, 16),
    ),
    'LabelledPreprocessor': (
        dict(num_classes=4, mixup_alpha=0.8, cutmix_alpha=1.0),
        pixels(labelled),
        (3, 16, 16),
    ),
    # It gets its teacher from the model, too.
    'LatentPredictionLoss': (
        dict(VICMAE, head=VICMAE['head'] | dict(reconstruction=dict(type='LatentPredictionLoss'))),
        total_loss(lambda: dict(inputs=views())),
        (),
    ),
    'MAE': (
        dict(PARTS, neck=VICMAE['neck'], reconstruction=VICMAE['head']['reconstruction']),
        total_loss(lambda: dict(inputs=views())),
        (),
    ),
    'MAEDecoder': (
        dict(in_dim=16, grid=(1, 4, 4), patch_values=48, embed_dim=8, depth=1, num_heads=2),
        decode,
        (2, 12, 48),
    ),
    'MAEST': (
        toy_video_mae_config('MAEST', learn_pos_embed=True, pos_embed_type='separable'),
        total_loss(lambda: dict(inputs=clips())),
        (),
    ),
    'MLPHead': (dict(in_dim=8, hidden_dim=16, out_dim=4), lambda m: m(torch.randn(6, 8)), (6, 4)),
    'MaskedViT': (
        dict(VICMAE['backbone']),
        lambda m: m(torch.randn(2, 3, 16, 16), mask=True)[0],
        (2, 5, 16),
        'masking',
    ),
    'MaxPooling': (dict(), pooled, (2, 8)),
    'MeanOverTime': (dict(), pooled_over_time, (2, 8)),
    'MeanPooling': (dict(), pooled, (2, 8)),
    'OmniMAE': (toy_video_mae_config('OmniMAE'), total_loss(lambda: dict(inputs=views())), ()),
    'PixelReconstructionLoss': (
        dict(),
        lambda m: m(torch.randn(2, 12, 48), torch.randn(2, 12, 48)),
        (),
    ),
    'RandomMasking': (dict(), values_kept, (2, 4, 8)),
    'SIGRegLoss': (dict(num_slices=64), contrast, ()),
    'SharedTarget': (
        dict(head=dict(type='MLPHead', in_dim=8, hidden_dim=8, out_dim=8)),
        embeddings,
        (2, 6, 8),
        'head',
    ),
    'SimCLR': (
        dict(PARTS, projector=VICMAE['predictor'], contrastive=dict(type='InfoNCELoss')),
        total_loss(lambda: dict(inputs=views())),
        (),
    ),
    'StatisticsOverTime': (dict(), pooled_over_time, (2, 24)),
    'StopGradientTarget': (dict(), embeddings, (2, 6, 8)),
    'SupervisedJoint': (
        {
            **{n: v for n, v in toy_transfer_config().items() if n not in ('type', 'head')},
            'data_preprocessor': dict(type='JointPreprocessor'),
            'heads': {n: toy_transfer_config()['head'] for n in ('images', 'videos')},
        },
        total_loss(labelled),
        (),
    ),
    'TimedPredictor': (
        dict(in_dim=8, predictor=dict(type='MLPHead', in_dim=8, hidden_dim=16, out_dim=4)),
        lambda m: m(torch.randn(6, 8), torch.rand(6)),
        (6, 4),
        'predictor',
    ),
    'TransferClassifier': (
        toy_transfer_config(),
        total_loss(labelled),
        (),
    ),
    'TransferHead': (
        dict(num_classes=4, in_dim=8, norm='BN'),
        lambda m: m((torch.randn(6, 8),)),
        (6, 4),
    ),
    'TubeMasking': (dict(mask_ratio=0.75), values_kept, (2, 4, 8)),
    'VICRegLoss': (dict(), contrast, ()),
    'ViCMAE': (
        dict(VICMAE),
        total_loss(lambda: dict(inputs=views())),
        (),
    ),
    'ViCMAEHead': (
        dict(VICMAE['head']),
        lambda m: m.weigh(reconstruction=torch.rand(()), contrastive=torch.rand(()))[
            'loss_contrastive'
        ],
        (),
        'reconstruction',
        'contrastive',
    ),
    'VideoMAE': (toy_video_mae_config(), total_loss(lambda: dict(inputs=clips())), ()),
    'ViewPreprocessor': (dict(), pixels(lambda: dict(inputs=views())), (8, 3, 16, 16)),
}


def test_every_registered_module_has_an_example():
    MODELS.import_from_location()
    ours = {n for n, cls in MODELS.module_dict.items() if cls.__module__.startswith('vicmae.')}
    assert ours == EXAMPLES.keys()


@pytest.mark.filterwarnings('ignore:.*Clean up')
@pytest.mark.parametrize('name', EXAMPLES)
def test_component_passes_the_common_checks(name):
    settings, call, shape, *nested = EXAMPLES[name]
    check_component({'type': name, **settings}, call, shape=shape, nested=nested)


@MODELS.register_module()
class FaultyHead(nn.Linear):
    """A linear layer with one of the faults that are looked for."""

    def __init__(self, fault: str) -> None:
        super().__init__(4, 2)
        self.fault = fault
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=fault == 'unused')
        self.scale = torch.rand(()) + 1  # no part of the state dict
        if fault == 'frozen':
            self.weight.requires_grad_(False)
            self.weight.grad = torch.zeros(2, 4)

    def forward(self, x):
        y = super().forward(x)
        if self.fault == 'tuple':
            return y, y
        if self.fault == 'state':
            return y * self.scale
        if self.fault == 'dtype':
            return y.double()
        if self.fault == 'nan':
            return y / 0 * 0
        if self.fault == 'rough':
            return y + (2 if torch.is_autocast_enabled('cpu') else 0)
        return y[:, :1] if self.fault == 'shape' else y


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        ('shape', r'The output is \(8, 1\), not \(8, 2\)'),
        ('dtype', 'The output is torch.float64'),
        ('nan', 'NaN or infinite'),
        ('rough', 'In bfloat16 the output is off by'),
        ('unused', '`unused` gets no finite gradient'),
        ('frozen', '`weight` is frozen, but has a gradient'),
        ('state', 'With the same weights loaded, the output is another'),
        ('tuple', 'FaultyHead gives a tuple, not a tensor'),
    ],
)
def test_fault_is_named(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_component(
            dict(type='FaultyHead', fault=fault), lambda m: m(torch.randn(8, 4)), shape=(8, 2)
        )


def test_config_that_does_not_survive_a_file_is_named():
    config = dict(type='FaultyHead', fault=object())
    with pytest.raises((AssertionError, SyntaxError), match='config|invalid syntax'):
        check_component(config, lambda m: m(torch.randn(8, 4)), shape=(8, 2))
