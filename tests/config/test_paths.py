# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the project's own files are found."""

from pathlib import Path

import pytest

from vicmae.config.paths import find_config, list_configs, project_file, project_root
from vicmae.errors import ConfigError


def make_project(folder: Path) -> None:
    (folder / 'configs').mkdir(parents=True)
    (folder / 'configs' / 'a.py').write_text('x = 1\n')
    (folder / 'model-index.yml').write_text('Import: []\n')


def test_files_of_a_checkout_are_found_next_to_the_package(tmp_path):
    make_project(tmp_path)
    package = tmp_path / 'vicmae'
    assert project_root(package) == tmp_path
    assert project_file('configs/a.py', package) == tmp_path / 'configs' / 'a.py'


def test_files_of_a_checkout_are_preferred_to_links_next_to_the_package(tmp_path):
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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A checkout's package, away from the current folder."""
    make_project(tmp_path / 'checkout')
    base = tmp_path / 'checkout/configs/_base_'
    base.mkdir()
    (base / 'default_runtime.py').touch()
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    return tmp_path / 'checkout/vicmae'


@pytest.mark.parametrize('name', ['a', 'a.py', 'configs/a.py'])
def test_config_is_found_by_name_or_by_path_from_the_root_of_the_project(package, name):
    assert find_config(name, package) == package.parent / 'configs/a.py'


def test_file_that_exists_has_precedence_over_the_name(package):
    Path('a.py').touch()
    assert find_config('a.py', package) == Path('a.py')
    assert find_config('a', package) == package.parent / 'configs/a.py'


def test_bases_are_not_listed_as_configs(package):
    assert list_configs(package) == [package.parent / 'configs/a.py']
    with pytest.raises(ConfigError, match="There is no config 'default_runtime'"):
        find_config('default_runtime', package)


def test_name_of_two_configs_is_refused_with_their_paths(package):
    (package.parent / 'configs/mae').mkdir()
    (package.parent / 'configs/mae/a.py').touch()
    with pytest.raises(ConfigError, match=r"2 configs are named 'a': .*configs/a\.py, .*mae/a\.py"):
        find_config('a', package)


@pytest.mark.parametrize(
    'name', ['vicmae_vit-tiny-p8_debog', 'no/folder/vicmae_vit-tiny-p8_debog.py']
)
def test_unknown_config_is_refused_with_the_nearest_names(name):
    with pytest.raises(ConfigError, match=f"no config '{name}'.*mean .*vicmae_vit-tiny-p8_debug"):
        find_config(name)


def test_misspelt_path_of_a_config_is_refused_with_a_similar_one(tmp_path):
    (tmp_path / 'my_config.py').touch()
    with pytest.raises(ConfigError, match='Did you mean my_config'):
        find_config(str(tmp_path / 'my_confg.py'))


def test_names_of_all_configs_differ():
    names = [path.stem for path in list_configs()]
    assert len(set(names)) == len(names)


def test_part_of_a_name_is_completed():
    with pytest.raises(ConfigError, match='Did you mean vicmae_vit-small-p16_1xb64.*own-data'):
        find_config('own-data')


def test_configs_that_start_with_the_name_are_suggested_first():
    with pytest.raises(ConfigError, match='Did you mean omnimae_vit-base-p16_8xb256.* or omnimae_'):
        find_config('omnimae')
