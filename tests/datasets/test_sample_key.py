# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The random choices of a sample depend on its key only."""

import numpy as np
import pytest

from vicmae.datasets.sample_key import SampleKey, as_sample_key

KEY = SampleKey(seed=3, epoch=1, index=7)


def draw(key):
    return key.generator().random(4).tolist()


@pytest.mark.parametrize('field', ['seed', 'epoch', 'index'])
def test_each_part_of_a_key_changes_the_choices(field):
    assert draw(KEY) == draw(SampleKey(*KEY))
    assert draw(KEY) != draw(KEY._replace(**{field: getattr(KEY, field) + 1}))


def test_seed_and_epoch_are_not_interchangeable():
    assert draw(SampleKey(0, 1, 2)) != draw(SampleKey(1, 0, 2))


def test_plain_index_gets_a_seed_from_numpys_global_state():
    np.random.seed(5)
    first, second = as_sample_key(7), as_sample_key(7)
    np.random.seed(5)
    assert as_sample_key(7) == first
    assert first.index == second.index == 7
    assert first != second
    assert as_sample_key(KEY) is KEY
