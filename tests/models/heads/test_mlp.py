# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn

from vicmae.models.heads import MLPHead
from vicmae.models.heads.mlp import apply_per_view
from vicmae.models.layers import SyncBatchNorm1d


def test_default_head_is_built_like_the_official_projector():
    layers = list(MLPHead(in_dim=768))
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert [type(layer) for layer in layers] == [*block, *block, nn.Linear]
    widths = [(x.in_features, x.out_features) for x in layers if isinstance(x, nn.Linear)]
    assert widths == [(768, 4096), (4096, 4096), (4096, 128)]


@pytest.mark.parametrize(
    ('norm', 'norm_type'), [('LN', nn.LayerNorm), ('SyncBN', SyncBatchNorm1d), (None, None)]
)
def test_norm_follows_the_argument(norm, norm_type):
    layers = list(MLPHead(in_dim=4, hidden_dim=6, out_dim=2, num_blocks=1, norm=norm))
    middle = [norm_type] if norm_type else []
    assert [type(layer) for layer in layers] == [nn.Linear, *middle, nn.ReLU, nn.Linear]


def test_no_blocks_make_one_linear_layer():
    (layer,) = MLPHead(in_dim=4, out_dim=2, num_blocks=0)
    assert (layer.in_features, layer.out_features) == (4, 2)


def test_batch_norm_statistics_per_view_equal_separate_passes():
    head = MLPHead(in_dim=4, hidden_dim=6, out_dim=3)
    apart = copy.deepcopy(head)
    # Views whose statistics differ, so that joining them would show.
    views = torch.stack([torch.randn(8, 4), 5 + 3 * torch.randn(8, 4)])
    together = apply_per_view(head, views)
    assert torch.equal(together, torch.stack([apart(views[0]), apart(views[1])]))
    assert torch.equal(head[1].running_mean, apart[1].running_mean)
    joined = head(views.flatten(0, 1)).unflatten(0, (2, 8))
    assert not torch.allclose(joined, together, atol=0.01)


def test_unknown_norm_is_refused_with_the_choices():
    with pytest.raises(ValueError, match='`norm` must be one of BN, SyncBN, LN or None, got .GN.'):
        MLPHead(in_dim=4, norm='GN')
