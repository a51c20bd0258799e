# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .checkpoint_fit import CheckpointFitHook
from .class_fit import ClassFitHook
from .data_log import DataLogHook
from .loss_weight_schedule import LossWeightScheduleHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .safe_checkpoint import SafeCheckpointHook
from .start import FirstStepHook, StartCheckHook
from .step_guard import StepGuardHook
from .step_seed import StepSeedHook
from .target_ema import TargetEMAHook

__all__ = [
    'CheckpointFitHook',
    'ClassFitHook',
    'DataLogHook',
    'FirstStepHook',
    'LossWeightScheduleHook',
    'PreemptionHook',
    'ProgressHook',
    'SafeCheckpointHook',
    'StartCheckHook',
    'StepGuardHook',
    'StepSeedHook',
    'TargetEMAHook',
]
