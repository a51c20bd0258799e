# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.heads import ChannelShareHead, MLPHead
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config

HEAD = dict(type='ChannelShareHead', share=0.25, hidden_dim=16, out_dim=8)
# Where pooled tokens enter a head: paper, official code, BYOL.
CASES = {
    'paper': dict(predictor=HEAD, target=dict(type='SharedTarget', head=HEAD)),
    'projector': dict(projector=HEAD, predictor=None, target=dict(type='SharedTarget')),
    'EMA': dict(projector=HEAD, target=dict(type='EMATarget')),
}


def test_head_is_an_mlp_of_the_first_channels():
    head = ChannelShareHead(in_dim=8, share=0.75, hidden_dim=16, out_dim=4).eval()
    mlp = MLPHead(in_dim=6, hidden_dim=16, out_dim=4).eval()
    mlp.load_state_dict(head.state_dict())
    pooled = torch.randn(5, 8)
    assert torch.equal(head(pooled), mlp(pooled[:, :6]))


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_contrast_has_exactly_no_gradient_at_the_other_channels(case):
    model = MODELS.build({**toy_vicmae_config(), **case})
    model.init_weights()
    randomize(model)
    pooled = torch.randn(2, 6, 16, requires_grad=True)
    teacher = torch.randn(2, 6, 16) if case['target']['type'] == 'EMATarget' else None
    model.contrast(pooled, teacher).backward()
    assert pooled.grad[..., 4:].eq(0).all()
    assert pooled.grad[..., :4].abs().sum(dim=(0, 1)).gt(0).all()


def test_reconstruction_trains_all_channels():
    model = MODELS.build({**toy_vicmae_config(), **CASES['paper']})
    model.init_weights()
    tokens = []
    model.backbone.register_forward_hook(lambda *args: tokens.append(args[-1][0]))
    views = torch.randn(6, 3, 16, 16)
    encoded = model.encode(views, model.backbone.draw_mask(views))
    (gradient,) = torch.autograd.grad(encoded['reconstruction'], tokens)
    assert gradient.abs().sum(dim=(0, 1)).gt(0).all()


@pytest.mark.parametrize('share', [0, -0.5, 1.5, 50])
def test_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=rf'`share` must be in \(0, 1\], got {share}. Give a frac'):
        ChannelShareHead(in_dim=8, share=share)
