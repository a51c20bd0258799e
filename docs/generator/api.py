# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the API pages, which mkdocstrings fills in."""

from importlib import import_module

# What users import, by page.
MODULES = {
    'vicmae.apis': 'Load configs and models, encode files, run training from Python.',
    'vicmae.testing': 'Check your own parts: a component check, toy models and runs, real processes.',
    'vicmae.structures': 'What transforms pack and models receive.',
    'vicmae.errors': 'Errors with an explanation. The command line prints them as one message.',
}


def api_pages() -> dict[str, str]:
    """One page for each module that users import, with all of its public names."""
    return {
        f'reference/api/{name.rpartition(".")[2]}.md': _page(name, summary)
        for name, summary in MODULES.items()
    }


def _page(name: str, summary: str) -> str:
    module = import_module(name)
    names = [
        key
        for key, value in vars(module).items()
        if not key.startswith('_') and getattr(value, '__module__', '').startswith('vicmae')
    ]
    blocks = [f'::: {name}.{key}' for key in sorted(names)]
    return '\n\n'.join([f'# `{name}`', summary, *blocks]) + '\n'
