# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The table of methods: its costs are those counted, and it names each method."""

import re

import pytest

from vicmae.apis import count_flops, load_config
from vicmae.config.paths import project_file
from vicmae.models.algorithms import BasePretrainer
from vicmae.registry import MODELS

PAGE = project_file('docs/concepts/methods.md')
ROW = re.compile(
    r'\| \[(?P<method>[^]]+)\]\(\.\./\.\./(?P<config>\S+\.py)\) (\|[^|]*){4}'
    r'\| (?P<images>[\d.,]*) ?\| (?P<videos>[\d.,]*) ?\|'
)
ROWS = {row['method']: row for row in ROW.finditer(PAGE.read_text(encoding='utf-8'))}


def test_table_has_each_method_of_pretraining_at_one_size():
    models = [load_config(project_file(row['config'])).model for row in ROWS.values()]
    assert {model.backbone.arch for model in models} == {'base'}
    methods = {
        name
        for name, cls in MODELS.module_dict.items()
        if issubclass(cls, BasePretrainer) and cls.__module__.startswith('vicmae.models')
    }
    assert {model.type for model in models} == {*methods, 'SupervisedJoint'}


@pytest.mark.slow
@pytest.mark.parametrize('method', ROWS)
def test_cost_in_the_table_is_that_counted(method):
    row = ROWS[method]
    costs = count_flops(project_file(row['config']))
    counted = {kind: f'{cost.total / 1e9:,.1f}' for kind, cost in costs.items()}
    assert {kind: row[kind] for kind in ('images', 'videos') if row[kind]} == counted
