# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Literals and `dict(...)` calls are read; anything else is not, and nothing is run."""

import math

import pytest

from vicmae.config.literals import read_assignments, read_literal


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('dict(a=1, b=dict(c=[1, (2, None)]))', dict(a=1, b=dict(c=[1, (2, None)]))),
        ("dict({'a.b': -1, 2: 'x'})", {'a.b': -1, 2: 'x'}),
        ('{"a": dict(b=True)}', {'a': dict(b=True)}),
    ],
)
def test_literals_and_dict_calls_are_read(text, value):
    assert read_literal(text) == value


@pytest.mark.parametrize(
    'text',
    [
        'open("x")',
        'dict(**{"a": 1})',
        'dict(a=print(1))',
        'dict([(1, 2)])',
        'a.dict(b=1)',
        '(lambda: 1)()',
        '[x for x in (1, 2)]',
        'f"{1}"',
        'a',
    ],
)
def test_any_other_expression_is_refused(text):
    with pytest.raises(ValueError, match='malformed'):
        read_literal(text)


def test_assignments_that_are_not_literal_are_left_out(tmp_path):
    touched = tmp_path / 'touched'
    text = (
        f'import os\nopen({str(touched)!r}, "w")\na = dict(b=1)\nc = open({str(touched)!r}, "w")\n'
        'd.e = 1\nf: int = 1\ng = inf\nh = dict(i=-inf, j=[nan])\nk = l = 2\n'
    )
    values = read_assignments(text)
    assert math.isnan(values['h'].pop('j')[0])
    assert values == dict(a=dict(b=1), g=math.inf, h=dict(i=-math.inf))
    assert not touched.exists()
