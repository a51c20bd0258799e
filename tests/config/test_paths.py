# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the project's own files are found."""

from pathlib import Path

import pytest

from vicmae.config.paths import project_file, project_root


def make_project(folder: Path) -> None:
    (folder / 'configs').mkdir(parents=True)
    (folder / 'configs' / 'a.py').write_text('x = 1\n')
    (folder / 'model-index.yml').write_text('Import: []\n')


def test_files_of_a_checkout_are_found_beside_the_package(tmp_path):
    make_project(tmp_path)
    package = tmp_path / 'vicmae'
    assert project_root(package) == tmp_path
    assert project_file('configs/a.py', package) == tmp_path / 'configs' / 'a.py'


def test_files_of_a_checkout_are_preferred_to_links_beside_the_package(tmp_path):
    make_project(tmp_path)
    package = tmp_path / 'vicmae'
    make_project(package / '.mim')
    assert project_file('configs/a.py', package) == tmp_path / 'configs' / 'a.py'


def test_files_of_an_installed_package_are_found_inside_it(tmp_path):
    # Some packages install a folder `configs` or `tests` beside their own: not ours.
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'a.py').write_text('x = 2\n')
    package = tmp_path / 'vicmae'
    make_project(package / '.mim')
    assert project_file('configs/a.py', package) == package / '.mim' / 'configs' / 'a.py'


def test_missing_file_is_named_in_the_error(tmp_path):
    make_project(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no 'configs/b\.py'.*Give a path from the root"):
        project_file('configs/b.py', tmp_path / 'vicmae')


def test_this_project_has_its_configs():
    assert project_file('configs').is_dir()
