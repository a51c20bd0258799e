# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Import every module and build every config's model from the vicmae that this Python has installed.

`test_packaging.py` runs this with the Python of another environment. It prints what it did as JSON.
"""

import importlib
import json
import pkgutil

import torch
from mmengine import Config
from mmengine.registry import init_default_scope

import vicmae
from vicmae.errors import EnvironmentFault
from vicmae.utils.paths import project_file

# Readers of videos whose library is an extra, and says so where it is missing.
OPTIONAL = ('vicmae.datasets.video_io._torchcodec',)


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


def build_all_configs():
    """Build the model of each config, and return how many parameters it has."""
    from vicmae.registry import MODELS

    sizes = {}
    root = project_file('configs')
    for path in sorted(root.rglob('*.py')):
        name = path.relative_to(root)
        if '_base_' not in name.parts and not path.stem.startswith('_'):
            config = Config.fromfile(path)
            init_default_scope(config.default_scope)
            # On this device a tensor has a shape and no memory: the huge model is as quick as the tiny.
            with torch.device('meta'):
                model = MODELS.build(config.model)
            sizes[name.as_posix()] = sum(parameter.numel() for parameter in model.parameters())
    return sizes


if __name__ == '__main__':
    report = {
        'package': vicmae.__path__[0],
        'modules': import_all_modules(),
        'configs': build_all_configs(),
    }
    print(json.dumps(report))
