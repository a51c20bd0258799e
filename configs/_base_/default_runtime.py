# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What every run has: log, checkpoints, progress, seeds."""

default_scope = 'vicmae'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=3),
    checkpoint_fit=dict(type='CheckpointFitHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),  # tells the sampler which epoch it is
    step_seed=dict(
        type='StepSeedHook'
    ),  # what is drawn in a step follows from the seed, also after a resume
    step_guard=dict(type='StepGuardHook', max_bad_steps=10),  # skips steps that are NaN
    target_ema=dict(type='TargetEMAHook'),  # moves EMA teachers, if there are any
    data_log=dict(type='DataLogHook', interval=50),  # samples by source, bad files
    progress=dict(type='ProgressHook'),
    preemption=dict(type='PreemptionHook'),  # SIGTERM, SIGUSR1: a checkpoint, and the end
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False

# Samples and their masks follow from the seed, whatever the number of ranks.
randomness = dict(seed=0, diff_rank_seed=True)
