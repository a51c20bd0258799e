# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn

from vicmae.models.layers import SyncBatchNorm1d


@pytest.mark.parametrize('shape', [(6, 4), (6, 4, 3)])
def test_one_process_equals_batch_norm_bit_for_bit(shape):
    norm, reference = SyncBatchNorm1d(4), nn.BatchNorm1d(4)
    for _ in range(2):
        features = torch.randn(shape)
        assert torch.equal(norm(features), reference(features))
    features = torch.randn(shape)
    assert torch.equal(norm.eval()(features), reference.eval()(features))
    assert norm.state_dict().keys() == reference.state_dict().keys()
    for name, value in reference.state_dict().items():
        assert torch.equal(norm.state_dict()[name], value)


def test_state_dict_is_that_of_torchs_batch_norm():
    norm = SyncBatchNorm1d(4)
    norm(torch.randn(8, 4))
    torchs = nn.SyncBatchNorm(4)
    torchs.load_state_dict(norm.state_dict())
    copy.deepcopy(norm).load_state_dict(torchs.state_dict())


def test_batch_of_one_is_refused_in_training_only():
    norm = SyncBatchNorm1d(4)
    with pytest.raises(ValueError, match='Expected more than 1 value per channel when training'):
        norm(torch.randn(1, 4))
    assert norm.eval()(torch.randn(1, 4)).shape == (1, 4)


def test_images_are_refused():
    with pytest.raises(ValueError, match='expected 2D or 3D input'):
        SyncBatchNorm1d(4)(torch.randn(2, 4, 3, 3))
