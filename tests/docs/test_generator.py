# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import argparse
import re
from pathlib import Path

import pytest

from docs.generator.commands import command_page
from docs.generator.stage import find_pages, rewrite_links, stage_pages
from docs.generator.text import escape, table
from vicmae.cli.main import find_commands
from vicmae.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def options():
    pytest.importorskip('griffe', reason='make setup installs it, with requirements/docs.txt')
    from docs.generator import options

    return options


def rows(options, cls):
    return {option.name: option for option in options.find_options(cls)}


def test_every_option_of_every_registered_class_is_on_a_page(options):
    pages = options.option_pages()
    models = pages['reference/options/models.md']
    MODELS.import_from_location()
    own = [name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith('vicmae.')]
    assert len(own) > 25
    assert [name for name in own if f'### {name}\n' not in models] == []
    assert '| `mask_ratio` | float | `0.75` | ' in models
    assert 'hooks.md' in pages['reference/options/index.md']


def test_option_without_a_description_ends_the_build(options, monkeypatch):
    class Undescribed:
        """Does nothing.

        Args:
            width: Width of the tokens.
        """

        def __init__(self, width: int, depth: int = 2) -> None: ...

    Undescribed.__module__ = 'vicmae.models.necks.undescribed'
    monkeypatch.setitem(MODELS._module_dict, 'Undescribed', Undescribed)
    with pytest.raises(options.UndescribedOptionsError, match='Undescribed: depth\n') as caught:
        options.option_pages()
    assert 'width' not in str(caught.value)


def test_options_that_kwargs_pass_on_are_listed_too(options):
    HOOKS.import_from_location()
    found = rows(options, HOOKS.get('SafeCheckpointHook'))
    assert list(found)[:2] == ['async_save', 'when_unwritten']
    assert found['interval'].owner.__module__.startswith('mmengine.')
    assert 'Default' not in found['interval'].meaning  # it has a column of its own


def test_options_that_a_class_sets_for_its_base_are_not_listed(options):
    class Base:
        """Args:
        first: One.
        second: Two.
        third: Three.
        """

        def __init__(self, first: int, second: int, third: int = 3) -> None: ...

    class Child(Base):
        """Args:
        own: Own.
        """

        def __init__(self, own: int, **kwargs: int) -> None:
            super().__init__(own + 1, second=2, **kwargs)

    assert list(rows(options, Child)) == ['own', 'third']


def test_option_that_follows_the_config_says_so(options):
    class Crop:
        """Args:
        size: Pixels of the side.
        depth: Layers.
        prob: How often.
        """

        follows = {'size': 'image_size'}
        model_sizes = {'tiny': {'depth': 2}}

        def __init__(self, size: int = 224, depth: int = 8, prob: float = 0.5) -> None: ...

    defaults = {name: option.default for name, option in rows(options, Crop).items()}
    assert defaults == {
        'size': 'follows `image_size`, else `224`',
        'depth': 'follows `model_size`, else `8`',
        'prob': '`0.5`',
    }


def test_types_are_written_as_one_says_them(options):
    class Part:
        """Args:
        width: Width.
        """

        def __init__(self, width: int | list[int] | None = None) -> None: ...

    assert rows(options, Part)['width'].values == 'int or list[int] or None'


def test_every_option_of_every_command_is_on_the_page():
    page = command_page()
    for name, module in find_commands().items():
        section = page.partition(f'## vicmae {name}\n')[2].partition('\n## ')[0]
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        for action in parser._actions[1:]:
            if action.help != argparse.SUPPRESS:
                for option in action.option_strings or [action.metavar or action.dest]:
                    assert f'`{option}' in section, (name, option)


def test_option_without_a_help_text_ends_the_build(monkeypatch):
    module = find_commands()['doctor']
    monkeypatch.setattr(module, 'add_arguments', lambda parser: parser.add_argument('--silent'))
    with pytest.raises(ValueError, match='vicmae doctor: `--silent SILENT` has no help text'):
        command_page()


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, 'utf-8')
    return path


def test_links_that_leave_docs_lead_to_pages_of_the_site(tmp_path):
    text = (
        '[list](../../configs/mae/README.md#top), [code](../../vicmae/x.py), [web](https://a.org/b)\n'
        '```\n[in code](../../vicmae/x.py)\n```\n[near](b.md)\n'
    )
    page = write(tmp_path, 'docs/guides/a.md', text)
    write(tmp_path, 'docs/guides/b.md', '# B')
    write(tmp_path, 'configs/mae/README.md', '[a](../../docs/guides/a.md)')
    write(tmp_path, 'vicmae/x.py', 'x = 1')
    for name in ('CHANGELOG.md', 'CONTRIBUTING.md'):
        write(tmp_path, name, '# Title')
    stage_pages(tmp_path, tmp_path / 'stage')
    assert (tmp_path / 'stage/guides/a.md').read_text('utf-8') == (
        '[list](../configs/mae/index.md#top), [code](../sources/vicmae/x.py.md), [web](https://a.org/b)\n'
        '```\n[in code](../../vicmae/x.py)\n```\n[near](b.md)\n'
    )
    assert (tmp_path / 'stage/configs/mae/index.md').read_text() == '[a](../../guides/a.md)'
    source = (tmp_path / 'stage/sources/vicmae/x.py.md').read_text('utf-8')
    assert source.endswith('# x.py\n\n`vicmae/x.py`\n\n````python\nx = 1\n````\n')
    page.write_text('[bad](https://a.org/<b>)', 'utf-8')
    with pytest.raises(
        ValueError, match=re.escape("docs/guides/a.md: malformed link 'https://a.org/<b>'")
    ):
        rewrite_links(page, root=tmp_path, places=find_pages(tmp_path))


def test_text_of_docstrings_keeps_its_meaning_in_markdown():
    assert escape('*args* of `a_b`\n  and <x>') == r'\*args\* of `a_b` and \<x\>'
    assert escape('``code`` and a lone `') == "'code' and a lone '"
    assert '| a | b |\n| --- | --- |\n| 1 \\| 2 | 3 |' in table(('a', 'b'), [('1 | 2', '3')])
