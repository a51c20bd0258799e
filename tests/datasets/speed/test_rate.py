# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vicmae.datasets.speed.rate import samples_per_second

SECONDS = 0.01  # of a sample


class Sleepy(Dataset):
    """Takes its time for each sample, and none of a core."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(SECONDS)
        return dict(inputs=[torch.zeros(3), torch.zeros(3)])


@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_rate_is_that_of_all_workers(num_workers):
    loader = DataLoader(Sleepy(1000), batch_size=4, num_workers=num_workers)
    possible = max(1, num_workers) / SECONDS
    assert 0.5 * possible < samples_per_second(loader, 0.4) < 1.05 * possible


def test_short_epoch_is_gone_through_again():
    loader = DataLoader(Sleepy(8), batch_size=4)
    assert samples_per_second(loader, 0.3) == pytest.approx(1 / SECONDS, rel=0.5)


def test_loader_without_a_batch_is_refused():
    with pytest.raises(ValueError, match='not one batch: lower its batch size'):
        samples_per_second(DataLoader(Sleepy(3), batch_size=4, drop_last=True), 1)
