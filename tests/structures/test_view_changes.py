# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Augmentations of a view as numbers."""

import numpy as np
import pytest

from vicmae.structures import FIELDS, UNCHANGED, as_vector


def test_vector_has_the_given_values_and_defaults():
    vector = as_vector(dict(hue=0.25, flip=1))
    assert vector.dtype == np.float32
    expected = {**UNCHANGED, 'hue': 0.25, 'flip': 1}
    assert dict(zip(FIELDS, vector.tolist(), strict=True)) == expected


def test_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r'names are flip, .* solarize; got sharpness\.'):
        as_vector(dict(sharpness=2.0))
