# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads literals of Python and `dict(...)` calls from text, without running it."""

from __future__ import annotations

import ast
from typing import Any

_NUMBERS = {'inf': float('inf'), 'nan': float('nan')}  # as `str` writes them


class _AsLiterals(ast.NodeTransformer):
    """Replaces `dict(key=value)`, as configs write it, and `inf` and `nan` by literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            return node
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        # MMEngine writes `dict({'a.b': 1})` where a key is no name.
        if len(node.args) == 1 and isinstance(node.args[0], ast.Dict):
            keys, values = list(node.args[0].keys), list(node.args[0].values)
        elif node.args:
            return node
        if None in keys or any(keyword.arg is None for keyword in node.keywords):
            return node
        keys += [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys, values + [keyword.value for keyword in node.keywords])


class _AsNumbers(_AsLiterals):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_NUMBERS[node.id]) if node.id in _NUMBERS else node


def read_literal(text: str) -> Any:
    """Reads an expression of literals and `dict(...)` calls; raises a ValueError or SyntaxError for any other."""
    return ast.literal_eval(_AsLiterals().visit(ast.parse(text.lstrip(' \t'), mode='eval')))


def read_assignments(text: str) -> dict[str, Any]:
    r"""Reads the assignments of a config's text whose values are literals and `dict(...)` calls; no others.

    Example:
        >>> read_assignments('a = dict(b=[1, 2])\nc = open("file")')
        {'a': {'b': [1, 2]}}
    """
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            continue
        target = statement.targets[0]
        if not isinstance(target, ast.Name):
            continue
        try:
            values[target.id] = ast.literal_eval(_AsNumbers().visit(statement.value))
        except ValueError:
            continue
    return values
