# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where `configs/`, `tools/` and `model-index.yml` are, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from vicmae.errors import ConfigError

from .nearest import suggest

PACKAGE = Path(__file__).resolve().parents[1]


def project_root(package: Path = PACKAGE) -> Path:
    """The folder that holds `configs/` and `tools/`.

    In a checkout, editable installs included, this is the checkout. A wheel carries the files inside
    the package, in `.mim`, where OpenMMLab's tools look for them too.
    """
    checkout = package.parent
    return checkout if (checkout / 'model-index.yml').is_file() else package / '.mim'


def project_file(relative: str, package: Path = PACKAGE) -> Path:
    """Find a file or folder of the project, such as a config, wherever the package is installed.

    Args:
        relative: Path from the root of the project, with slashes: 'configs/vicmae/....py'.
        package: The folder of the package `vicmae`.

    Raises:
        FileNotFoundError: The project has no such file.

    Example:
        >>> project_file('model-index.yml').name
        'model-index.yml'
    """
    path = project_root(package) / relative
    if not path.exists():
        raise FileNotFoundError(
            f'The project has no {relative!r}: {path} does not exist. '
            'Give a path from the root of the project, such as "configs/vicmae".'
        )
    return path


def list_configs(package: Path = PACKAGE) -> list[Path]:
    """All configs of the project that can be run: those below `_base_` are parts of others."""
    paths = sorted(project_file('configs', package).rglob('*.py'))
    return [path for path in paths if '_base_' not in path.parts]


def find_config(name: str, package: Path = PACKAGE) -> Path:
    """Finds a config by its path or by its name alone, with or without `.py`.

    Args:
        name: A path, from the current folder or else from the root of the project, or the name of one of the
            project's configs. A file that exists has precedence.
        package: The folder of the package `vicmae`.

    Raises:
        ConfigError: There is no such config, or more than one.
    """
    for path in (Path(name), project_root(package) / name):
        if path.is_file():
            return path
    configs = list_configs(package)
    stem = name.removesuffix('.py')
    found = [path for path in configs if path.stem == stem]
    if len(found) > 1:
        raise ConfigError(
            f'{len(found)} configs are named {stem!r}: {", ".join(map(str, found))}. Give a path.'
        )
    if found:
        return found[0]
    # The user's own files too: a path may be misspelt.
    known = [path.stem for path in (*configs, *Path(name).parent.glob('*.py'))]
    meant = suggest(Path(stem).name, dict.fromkeys(known))
    raise ConfigError(f'There is no config {name!r}.{meant} `vicmae configs` lists them.')
