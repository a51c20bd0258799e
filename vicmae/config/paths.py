# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds `configs/`, `tools/` and `model-index.yml` in a checkout or an installed package."""

from __future__ import annotations

from pathlib import Path

from vicmae.errors import ConfigError

from .nearest import suggest
from .old_names import command_of_old_name

PACKAGE = Path(__file__).resolve().parents[1]


def project_root(package: Path = PACKAGE) -> Path:
    """The folder of `configs/` and `tools/`: a checkout, or `.mim` in an installed package.

    OpenMMLab's tools look in `.mim` too.
    """
    checkout = package.parent
    return checkout if (checkout / 'model-index.yml').is_file() else package / '.mim'


def project_file(relative: str, package: Path = PACKAGE) -> Path:
    """Finds a file or folder by its path from the root of the project, wherever it is installed.

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
    """All configs of the project that can be run: all but those in `_base_`."""
    paths = sorted(project_file('configs', package).rglob('*.py'))
    return [path for path in paths if '_base_' not in path.parts]


def find_config(name: str, package: Path = PACKAGE) -> Path:
    """Finds a config by its path or by its name alone, with or without `.py`.

    Paths are from the current folder, else from the root of the project, and go before names.
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
    if command := command_of_old_name(Path(stem).name, configs):
        raise ConfigError(f'There is no config {name!r} any more. Use this command:\n  {command}')
    # The user's own files too: a path may be misspelt.
    known = [path.stem for path in (*configs, *Path(name).parent.glob('*.py'))]
    named = Path(stem).name
    holding = [name for name in dict.fromkeys(known) if named in name]
    # Those that start with it go first: a benchmark names its pretraining in the middle.
    holding = sorted(holding, key=lambda name: not name.startswith(named))[:3]
    meant = (
        f' Did you mean {" or ".join(holding)}?'
        if holding
        else suggest(named, dict.fromkeys(known))
    )
    raise ConfigError(f'There is no config {name!r}.{meant} `vicmae configs` lists them.')


def with_bases(config: Path) -> list[Path]:
    """Lists a config and the files that it inherits from, near and far."""
    from mmengine.config import Config  # `vicmae --help` works without it
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('vicmae', 'vicmae')  # for `_base_ = 'vicmae::vicmae/NAME.py'`
    try:
        bases = [
            Path(Config._get_cfg_path(base, str(config))[0])
            for base in Config._get_base_files(str(config))
        ]
    except Exception as error:  # `_base_` is an expression of Python
        raise ConfigError(f"Can't read the config {str(config)!r}: {error}") from error
    return [config, *(path for base in bases for path in with_bases(base))]
