# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Imports every module and builds every config's model, with the vicmae that this Python has installed.

`test_packaging.py` and `.ci/versions` run this with the Python of another environment. Arguments are folders of more
configs. It prints what it did as JSON.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import torch

import vicmae
from vicmae.config.paths import project_file
from vicmae.errors import EnvironmentFault

# Readers of videos whose library is an extra, and says so where it is missing.
OPTIONAL = ('vicmae.io.video._torchcodec',)


def import_all_modules():
    """Import all modules, and return their names."""
    names = [module.name for module in pkgutil.walk_packages(vicmae.__path__, 'vicmae.')]
    for name in names:
        try:
            importlib.import_module(name)
        except EnvironmentFault:
            if name not in OPTIONAL:
                raise
    return names


def build_all_configs(folders):
    """Check the types and the arguments of each config, build its model, and return how many parameters it has."""
    from vicmae.apis import load_config
    from vicmae.registry import MODELS

    sizes = {}
    for root in folders:
        for path in sorted(root.rglob('*.py')):
            name = path.relative_to(root)
            if '_base_' not in name.parts and not path.stem.startswith('_'):
                config = load_config(path)
                # On this device a tensor has a shape and no memory: the huge model is as quick as the tiny.
                with torch.device('meta'):
                    model = MODELS.build(config.model)
                sizes[name.as_posix()] = sum(p.numel() for p in model.parameters())
    return sizes


if __name__ == '__main__':
    report = {
        'package': vicmae.__path__[0],
        'modules': import_all_modules(),
        'configs': build_all_configs([project_file('configs'), *map(Path, sys.argv[1:])]),
    }
    print(json.dumps(report))
