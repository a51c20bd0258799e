# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest

from vicmae.utils.spread import pick_evenly


@pytest.mark.parametrize(
    ('count', 'picked'),
    [(1, 'a'), (2, 'ak'), (3, 'afk'), (6, 'acegik'), (11, 'abcdefghijk'), (20, 'abcdefghijk')],
)
def test_items_are_spread_evenly_from_the_first_to_the_last(count, picked):
    assert pick_evenly('abcdefghijk', count) == list(picked)
