# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Every value of an algorithm's config has an effect: on the model, the losses or the gradients."""

import copy
import inspect

import pytest
import torch

from vicmae.registry import MODELS
from vicmae.testing import toy_vicmae_config

TOY = toy_vicmae_config()
HEAD = dict(hidden_dim=16, out_dim=8)
BACKBONE = {
    'backbone.arch.embed_dims': 32,
    'backbone.arch.num_layers': 3,
    'backbone.arch.num_heads': 4,
    'backbone.arch.feedforward_channels': 48,
    'backbone.img_size': 32,
    'backbone.patch_size': 8,
    'backbone.masking.mask_ratio': 0.5,
    'backbone.in_channels': 1,
    'backbone.drop_rate': 0.5,
    'backbone.drop_path_rate': 0.9,
    'backbone.qkv_bias': False,
    'backbone.final_norm': False,
    'backbone.with_cls_token': False,
    'backbone.learn_pos_embed': True,
    'backbone.frozen_stages': 1,
    'backbone.pre_norm': True,
    'backbone.layer_scale_init_value': 0.1,
    'data_preprocessor.mean': (0.0, 0.0, 0.0),
    'data_preprocessor.std': (1.0, 1.0, 1.0),
}
NECK = {
    'neck.embed_dim': 16,
    'neck.depth': 2,
    'neck.num_heads': 4,
    'neck.mlp_ratio': 2,
    'neck.learn_pos_embed': True,
    'neck.own_cls_token': True,
}
# Per algorithm: its config, and for each value in it another one.
CASES = {
    'ViC-MAE': (
        TOY,
        BACKBONE
        | NECK
        | {
            'predictor.hidden_dim': 32,
            'predictor.out_dim and target.head.out_dim': 4,
            'predictor.num_blocks': 1,
            'predictor.norm': 'LN',
            'target.head.hidden_dim': 32,
            'target.head.num_blocks': 1,
            'target.head.norm': None,
            'head.reconstruction.norm_pix': False,
            'head.contrastive.temperature': 0.2,
            'contrast_patches': True,
            'head.reconstruction_weight': 0.5,
            'head.contrastive_weight': 0.3,
        },
    ),
    'ViC-MAE, other parts': (
        TOY
        | dict(
            backbone=TOY['backbone'] | dict(masking=dict(type='BlockMasking', mask_ratio=0.5)),
            aggregator=dict(type='GeMPooling'),
            projector=dict(type='MLPHead', **HEAD),
            predictor=None,
            target=dict(type='EMATarget'),
            head=TOY['head'] | dict(contrastive=dict(type='VICRegLoss')),
        ),
        {
            'backbone.masking.mask_ratio': 0.75,
            'backbone.masking.scale': (0.2, 0.5),
            'backbone.masking.ratio': (1.0, 1.0),
            'aggregator.p': 2.0,
            'aggregator.learn_p': False,
            'aggregator.eps': 0.1,
            'projector.hidden_dim': 32,
            'projector.out_dim': 4,
            'projector.num_blocks': 1,
            'projector.norm': None,
            'target.momentum': 0.5,
            'target.masked': False,
            'head.contrastive.invariance_weight': 1.0,
            'head.contrastive.variance_weight': 1.0,
            'head.contrastive.covariance_weight': 2.0,
            'head.contrastive.target_std': 2.0,
            'head.contrastive.eps': 0.1,
        },
    ),
    'ViC-MAE, attention': (
        TOY | dict(aggregator=dict(type='AttentionPooling', num_heads=2)),
        {'aggregator.num_heads': 4},
    ),
    'ViC-MAE, time': (
        TOY
        | dict(
            predictor=dict(type='TimedPredictor', predictor=TOY['predictor']),
            target=dict(type='SharedTarget', head=dict(type='ChannelShareHead', share=0.5, **HEAD)),
            head=TOY['head'] | dict(order=dict(type='FrameOrderLoss', hidden_dim=16)),
        ),
        {
            'predictor.periods': (0.5, 3.0),
            'predictor.predictor.hidden_dim': 32,
            'predictor.predictor.out_dim and target.head.out_dim': 4,
            'predictor.predictor.num_blocks': 1,
            'predictor.predictor.norm': 'LN',
            'target.head.share': 0.25,
            'head.order_weight': 0.5,
            'head.order.edges': (0.1,),
            'head.order.hidden_dim': 32,
            'head.order.num_blocks': 2,
        },
    ),
    'MAE': (
        {k: TOY[k] for k in ('backbone', 'neck', 'aggregator', 'data_preprocessor')}
        | dict(type='MAE', reconstruction=dict(type='PixelReconstructionLoss')),
        BACKBONE | NECK | {'reconstruction.norm_pix': False},
    ),
    'MAE, latent prediction': (
        {k: TOY[k] for k in ('backbone', 'neck', 'aggregator', 'data_preprocessor')}
        | dict(type='MAE', reconstruction=dict(type='LatentPredictionLoss')),
        {'reconstruction.momentum': 0.5, 'reconstruction.distance': 'l2'},
    ),
    'SimCLR': (
        {k: TOY[k] for k in ('backbone', 'aggregator', 'data_preprocessor')}
        | dict(
            type='SimCLR',
            projector=dict(type='MLPHead', **HEAD),
            contrastive=dict(type='InfoNCELoss'),
        ),
        {k: v for k, v in BACKBONE.items() if k != 'backbone.masking.mask_ratio'}
        | {
            'projector.hidden_dim': 32,
            'projector.out_dim': 4,
            'projector.num_blocks': 1,
            'projector.norm': None,
            'contrastive.temperature': 0.2,
        },
    ),
    'SimCLR, SIGReg': (
        {k: TOY[k] for k in ('backbone', 'aggregator', 'data_preprocessor')}
        | dict(
            type='SimCLR',
            projector=dict(type='MLPHead', **HEAD),
            contrastive=dict(type='SIGRegLoss', num_slices=8),
        ),
        {
            'contrastive.weight': 0.5,
            'contrastive.num_slices': 9,
            'contrastive.num_knots': 5,
            'contrastive.max_knot': 2.0,
        },
    ),
}
# What must not change the figures of one process: tested where it matters.
ELSEWHERE = {
    'non_blocking': 'copies to a device: speed',
    'with_cp': 'memory: test_vit.py, test_mae_decoder.py',
    'compat_rank_local_ids': 'several processes: tests/distributed',
    'out_type': "what mmpretrain's users get: test_vit.py",
    'resize_positions': 'other sizes: test_vit.py',
    'in_channels': "of a loss with norm_pix='channel': test_pixel_reconstruction.py",
    'difference_weight': 'clips: test_pixel_reconstruction.py',
    'num_frames': 'clips, and so the next four: test_vit_clips.py',
    'repeat_cls_token': '',
    'tubelet_size': '',
    'pos_embed_type': '',
    'inflation': '',
    'mask_ratio': 'SimCLR masks nothing: test_special_cases.py',
}
GIVEN = ('in_dim', 'grid', 'patch_values', 'num_prefix_tokens')  # by one part to another
# Of mmpretrain's VisionTransformer those that concern pretraining.
OF_MMPRETRAIN = {'out_indices', 'patch_cfg', 'layer_cfgs', 'norm_cfg', 'interpolate_mode', 'bias'}
PARTS = ('init_cfg', 'args', 'kwargs')


def arguments(config, where=''):
    """All dotted names of arguments that the parts of a config take, beside parts."""
    names = set(taken_arguments(MODELS.get(config['type'])))
    for name in names.difference(GIVEN, OF_MMPRETRAIN, PARTS):
        value = config.get(name)
        if isinstance(value, dict) and 'type' in value:
            yield from arguments(value, f'{where}{name}.')
        elif isinstance(value, dict):
            yield from (f'{where}{name}.{key}' for key in value)
        elif value is not None or not is_part(config['type'], name):
            yield where + name


def taken_arguments(cls):
    """Names of a class's arguments, with those of its bases that it passes on as `**kwargs`."""
    for base in (base for base in cls.__mro__ if '__init__' in vars(base)):
        _, *parameters = inspect.signature(base.__init__).parameters.values()
        yield from (p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return


def is_part(owner, name):
    """Whether an argument is another part, which a config may leave out."""
    return (owner, name) in {
        ('ViCMAE', 'projector'),
        ('ViCMAE', 'predictor'),
        ('ViCMAE', 'contrastive_cache'),
        ('ViCMAEHead', 'order'),
    }


def changed(config, path, value):
    config = copy.deepcopy(config)
    for one in path.split(' and '):  # what only goes together
        *parents, name = one.split('.')
        node = config
        for parent in parents:
            node = node[parent]
        node[name] = value
    return config


def fingerprint(config):
    """Returns the results of a training step: parameters, losses, gradients, and state after the optimiser's step."""
    config = copy.deepcopy(config)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    size, channels = model.backbone.img_size, model.backbone.in_channels
    generator = torch.Generator().manual_seed(1)
    views = torch.randint(256, (2, 6, channels, *size), generator=generator, dtype=torch.uint8)
    if channels == 1:
        model.data_preprocessor.mean = model.data_preprocessor.mean[:1]
        model.data_preprocessor.std = model.data_preprocessor.std[:1]
    inputs = model.data_preprocessor(dict(inputs=list(views)), training=True)['inputs']
    torch.manual_seed(2)
    times = [torch.zeros(6), torch.tensor([0.0, 0.2, 0.4, 0.8, 1.6, 3.2])]
    total, losses = model.parse_losses(model.loss(inputs, times=times))
    total.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    if hasattr(model, 'update_target'):
        model.update_target()
    found = {f'loss {name}': value.detach() for name, value in losses.items()}
    for name, parameter in model.named_parameters():
        found[f'value {name}'] = parameter.detach()
        found[f'gradient {name}'] = parameter.grad
    return found


def same(a, b):
    return a.keys() == b.keys() and all(
        (a[k] is None) == (b[k] is None)
        and (a[k] is None or (a[k].shape == b[k].shape and torch.allclose(a[k], b[k], 1e-5, 1e-8)))
        for k in a
    )


@pytest.fixture(scope='module')
def fingerprints():
    return {name: fingerprint(config) for name, (config, _) in CASES.items()}


@pytest.mark.parametrize('case', CASES)
def test_same_config_gives_the_same_values(case, fingerprints):
    # So that a difference below is the value's doing.
    assert same(fingerprint(CASES[case][0]), fingerprints[case])


@pytest.mark.parametrize(
    ('case', 'path'), [(case, path) for case, (_, others) in CASES.items() for path in others]
)
def test_value_of_the_config_is_read(case, path, fingerprints):
    config, others = CASES[case]
    assert not same(fingerprint(changed(config, path, others[path])), fingerprints[case])


def test_all_arguments_of_all_parts_are_tested():
    covered = {p for _, others in CASES.values() for path in others for p in path.split(' and ')}
    missing = {
        f'{case}: {path}'
        for case, (config, _) in CASES.items()
        for path in arguments(config)
        if path not in covered and path.rpartition('.')[2] not in ELSEWHERE
    }
    assert missing == set()
