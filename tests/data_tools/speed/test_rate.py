# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vicmae.data_tools.speed.rate import samples_per_second


class Clock:
    """A clock that the test advances."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(Dataset):
    """Each sample takes a hundredth of a second of the clock."""

    def __init__(self, length, clock):
        self.length, self.clock = length, clock

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.clock.now += 0.01
        return dict(inputs=[torch.zeros(3), torch.zeros(3)])


@pytest.mark.parametrize('length', [8, 1000])
def test_samples_are_counted_by_the_second_over_any_number_of_epochs(length):
    clock = Clock()
    loader = DataLoader(Slow(length, clock), batch_size=4)
    assert samples_per_second(loader, 2.5, clock) == pytest.approx(100)
    # The first batch isn't counted, and the last one is whole.
    assert clock.now == pytest.approx(0.04 + 2.52)


class Sleepy(Dataset):
    """Takes its time for each sample, and none of a core."""

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        time.sleep(0.1)
        return dict(inputs=[torch.zeros(3), torch.zeros(3)])


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
def test_workers_add_up():
    rates = [
        samples_per_second(DataLoader(Sleepy(), batch_size=1, num_workers=workers), 0.5)
        for workers in (1, 4)
    ]
    assert rates[1] > 2 * rates[0]  # four times, but for what else the machine does


def test_loader_without_a_batch_is_refused():
    with pytest.raises(ValueError, match='not one batch: lower its batch size'):
        samples_per_second(DataLoader(Slow(3, Clock()), batch_size=4, drop_last=True), 1)
