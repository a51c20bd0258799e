# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where `configs/`, `tools/` and `model-index.yml` are, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def project_root(package: Path = PACKAGE) -> Path:
    """The folder that holds `configs/` and `tools/`.

    In a checkout, editable installs included, this is the checkout. A wheel carries the files inside
    the package, in `.mim`, where OpenMMLab's tools look for them too.

    Args:
        package: The folder of the package `vicmae`.
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
