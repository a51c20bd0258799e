# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Registries, each a child of MMEngine's registry of the same name.

`locations` lets MMEngine import the modules the first time a type is looked up, so that a config works
without a manual `import vicmae.models`. Parts that MMEngine, mmcv or mmpretrain already have are not
registered again: an unscoped name is looked up in MMEngine's root, and `mmpretrain.Name` reaches mmpretrain.
The exceptions are `OptimWrapper` and `AmpOptimWrapper`, which are MMEngine's with a guard against non-finite steps.
"""

import warnings
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

# Names of release 0.1, which release 0.2 still accepts.
RENAMED = {
    'PretrainRunner': 'VicmaeRunner',
    'PretrainLoop': 'EpochLoop',
    'PretrainIterLoop': 'IterLoop',
    'TwoViewPreprocessor': 'ViewPreprocessor',
}


class RenamingRegistry(Registry):
    """Finds types by their old names too, with a warning."""

    def get(self, key: str) -> Any:
        """Returns the class that is registered as `key`."""
        scope, dot, name = key.rpartition('.')
        if name not in RENAMED or scope not in ('', 'vicmae'):
            return super().get(key)
        new = RENAMED[name]
        warnings.warn(
            f"`type='{name}'` is now `type='{new}'`. The old name will be removed in release 0.3.",
            FutureWarning,
            stacklevel=2,
        )
        return super().get(f'{scope}{dot}{new}')


def _child(name: str, parent: Registry, location: str) -> Registry:
    return RenamingRegistry(name, parent=parent, scope='vicmae', locations=[location])


MODELS = _child('model', mmengine_registry.MODELS, 'vicmae.models')
DATASETS = _child('dataset', mmengine_registry.DATASETS, 'vicmae.datasets')
DATA_SAMPLERS = _child('data sampler', mmengine_registry.DATA_SAMPLERS, 'vicmae.datasets.samplers')
TRANSFORMS = _child('transform', mmengine_registry.TRANSFORMS, 'vicmae.datasets.transforms')
HOOKS = _child('hook', mmengine_registry.HOOKS, 'vicmae.engine.hooks')
METRICS = _child('metric', mmengine_registry.METRICS, 'vicmae.evaluation.metrics')
RUNNERS = RenamingRegistry(
    'runner',
    # Unlike other build functions, it is not inherited from the parent.
    build_func=mmengine_registry.build_runner_from_cfg,
    parent=mmengine_registry.RUNNERS,
    scope='vicmae',
    locations=['vicmae.engine'],
)
WEIGHT_INITIALIZERS = _child(
    'weight initializer', mmengine_registry.WEIGHT_INITIALIZERS, 'vicmae.checkpoints.fit'
)
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor',
    mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    'vicmae.engine.optimizers',
)
MODEL_WRAPPERS = _child('model_wrapper', mmengine_registry.MODEL_WRAPPERS, 'vicmae.engine')

# Empty so far: without a child registry, MMEngine warns at each look-up that it falls back to its own.
EVALUATORS = _child('evaluator', mmengine_registry.EVALUATOR, 'vicmae.evaluation')
LOG_PROCESSORS = _child('log_processor', mmengine_registry.LOG_PROCESSORS, 'vicmae.engine')
LOOPS = _child('loop', mmengine_registry.LOOPS, 'vicmae.engine')
OPTIMIZERS = _child('optimizer', mmengine_registry.OPTIMIZERS, 'vicmae.engine.optimizers')
OPTIM_WRAPPERS = _child(
    'optim_wrapper', mmengine_registry.OPTIM_WRAPPERS, 'vicmae.engine.optimizers'
)
PARAM_SCHEDULERS = _child(
    'parameter scheduler', mmengine_registry.PARAM_SCHEDULERS, 'vicmae.engine'
)
VISBACKENDS = _child('vis_backend', mmengine_registry.VISBACKENDS, 'vicmae.visualization')
VISUALIZERS = _child('visualizer', mmengine_registry.VISUALIZERS, 'vicmae.visualization')
