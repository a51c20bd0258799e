# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vicmae.apis import load_model
from vicmae.data_tools.features.files import read_features
from vicmae.data_tools.features.run import write_features
from vicmae.engine.optimizers import BFloat16OptimWrapper, GuardedAmpOptimWrapper
from vicmae.registry import MODELS
from vicmae.testing import toy_vicmae_config

ROOT = Path(__file__).resolve().parents[1]
DEBUG = 'configs/vicmae/vicmae_vit-tiny-p8_debug.py'
CACHE = 'model.contrastive_cache'

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get('FAIL_WITHOUT_CUDA'),
    reason='needs a GPU (FAIL_WITHOUT_CUDA=1 makes this a failure)',
)


def train(work_dir, *arguments, options=(), launcher=()):
    """Trains the debug config in mixed precision; returns the rows of its log."""
    command = [sys.executable, *launcher, 'tools/train.py', DEBUG, '--work-dir', work_dir]
    command += ['--no-validate', *arguments]
    if 'optim_wrapper.type=OptimWrapper' in options:  # the sharded model itself mixes
        command += ['--cfg-options']
    else:
        command += ['--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16']
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    subprocess.run(
        [*command, *options], cwd=ROOT, env={**os.environ, 'PYTHONPATH': path}, check=True
    )
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) > 0
    assert all(math.isfinite(row['loss']) for row in rows)
    return rows


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize(
    'launcher', [[], ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1']]
)
def test_debug_config_trains_in_mixed_precision_on_a_gpu(tmp_path, dtype, launcher):
    arguments = ['--launcher', 'pytorch'] if launcher else []  # with nccl
    train(tmp_path, *arguments, options=[f'optim_wrapper.dtype={dtype}'], launcher=launcher)
    assert (tmp_path / 'last_checkpoint').is_file()


@pytest.mark.parametrize(
    'options',
    [
        [],
        ['optim_wrapper.dtype=float16'],  # whose gradients are scaled
        ['optim_wrapper.type=OptimWrapper', 'model_wrapper_cfg.mixed_precision=bfloat16'],
        ['model.target.type=EMATarget', 'model_wrapper_cfg.reshard_after_forward=False'],
        ['compile=True'],
    ],
    ids=['autocast', 'scaled', 'mixed', 'teacher', 'compiled'],
)
def test_sharded_model_trains_and_resumes_on_a_gpu(tmp_path, options):
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1']
    options = ['model_wrapper_cfg.type=FullyShard', *options]
    rows = train(tmp_path / 'a', '--launcher', 'pytorch', options=options, launcher=launcher)
    shutil.copy(tmp_path / 'a/iter_8.pth', tmp_path)
    resumed = train(
        tmp_path / 'b',
        *('--launcher', 'pytorch', '--resume', str(tmp_path / 'iter_8.pth')),
        options=options,
        launcher=launcher,
    )
    assert resumed[-1]['loss'] == pytest.approx(rows[-1]['loss'], rel=0.02)


@pytest.mark.parametrize(
    'options',
    [
        ['model.target.type=EMATarget', 'model.head.contrastive.type=VICRegLoss'],
        [
            'model.head.contrastive.type=SIGRegLoss',
            'model.head.reconstruction.type=LatentPredictionLoss',
        ],
        ['model.backbone.masking.type=BlockMasking', 'model.aggregator.type=AttentionPooling'],
        [f'{CACHE}.type=ContrastiveCache', f'{CACHE}.num_parts=4'],
        ['model.backbone.with_cp=True', 'model.neck.with_cp=True'],
    ],
    ids=['teacher', 'SIGReg of predicted tokens', 'parts', 'cache', 'checkpointed'],
)
def test_swaps_train_on_a_gpu(tmp_path, options):
    train(tmp_path, options=options)


def test_compiled_run_has_the_losses_of_a_plain_one(tmp_path):
    plain = train(tmp_path / 'plain')
    compiled = train(tmp_path / 'compiled', options=['compile=True'])
    for with_it, without in zip(compiled, plain, strict=True):
        assert with_it['loss_reconstruction'] == pytest.approx(
            without['loss_reconstruction'], rel=0.02
        )


def small_model(device, **parts):
    toy = toy_vicmae_config(None)
    config = {**toy, **parts}
    config['backbone'] = {
        **toy['backbone'],
        'arch': dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768),
        'img_size': 64,
        'patch_size': 8,
        **parts.get('backbone', {}),
    }
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    noise = torch.rand(32, 64)
    model.backbone.masking.noise = lambda rows, *_: noise[:rows].to(device)
    return model.to(device)


def step(model, views):
    torch.manual_seed(1)
    losses = model.loss(views)
    model.parse_losses(losses)[0].backward()
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_losses_on_a_gpu_are_those_of_float64_on_a_cpu(dtype):
    views = [torch.randn(16, 3, 64, 64) for _ in range(2)]
    exact = step(small_model('cpu').double(), [v.double() for v in views])
    model = small_model('cuda')
    with torch.autocast('cuda', dtype=dtype, enabled=dtype != torch.float32):
        losses = step(model, [v.cuda() for v in views])
    assert losses == pytest.approx(exact, rel=1e-3 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize(
    ('parts', 'share'),
    [
        (dict(backbone=dict(with_cp=True)), 0.7),
        (dict(contrastive_cache=dict(type='ContrastiveCache', num_parts=4)), 0.7),
    ],
    ids=['checkpointed', 'cached'],
)
def test_gradients_are_the_same_at_less_memory(parts, share):
    views = [torch.randn(16, 3, 64, 64, device='cuda') for _ in range(2)]
    plain = small_model('cuda')
    saving = small_model('cuda', **copy.deepcopy(parts))
    saving.load_state_dict(plain.state_dict())
    peaks = []
    for model in (plain, saving):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(model, views)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(
                saving.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-5, msg=name
            )
    assert peaks[1] < share * peaks[0]


def fused_step(bad):
    """Three steps without a wait, the second bad or not; returns states, and which are equal to the next."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    wrapper = BFloat16OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    wrapper.guarded = True
    inputs = torch.randn(8, 4, device='cuda')
    assert wrapper.skips_on_device()
    states = []
    for number in range(3):
        factor = torch.full((), float('inf') if bad and number == 1 else 1.0, device='cuda')
        torch.cuda.set_sync_debug_mode('error')
        with wrapper.optim_context(model):
            loss = model(inputs).float().square().mean()
        wrapper.update_params(loss * factor)
        torch.cuda.set_sync_debug_mode('default')
        moments = optimizer.state_dict()['state'].values()
        tensors = [*model.state_dict().values(), *(t for state in moments for t in state.values())]
        states.append([tensor.clone() for tensor in tensors])
    wrapper.read_checks()
    return states, [all_equal(a, b) for a, b in itertools.pairwise(states)]


def all_equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_gpu_skips_a_bad_step_by_itself_without_a_wait():
    assert fused_step(bad=False)[1] == [False, False]
    states, equal = fused_step(bad=True)
    assert equal == [True, False]
    assert all(tensor.isfinite().all() for tensor in states[-1])


def test_bfloat16_has_no_scaler_on_a_gpu():
    model = torch.nn.Linear(2, 2).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for dtype in ('bfloat16', torch.bfloat16):
        wrapper = GuardedAmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale='dynamic')
        assert wrapper.scale == 1 and not wrapper.loss_scaler.is_enabled()
    assert GuardedAmpOptimWrapper(optimizer=optimizer).loss_scaler.is_enabled()


def features_on(device, checkpoint, folder, out, **options):
    options = dict(batch_size=8, window=0.5, device=device, config=DEBUG) | options
    write_features(checkpoint, [str(folder)], out, **options)
    return read_features(out)


def test_features_on_a_gpu_are_those_of_a_cpu(demo_data, tmp_path):
    checkpoint = tmp_path / 'a.pth'
    torch.save(dict(state_dict=load_model(DEBUG).state_dict()), checkpoint)
    folder = demo_data / 'videos'
    one = features_on('cuda', checkpoint, folder, tmp_path / 'one.npz', num_workers=0)
    features_on('cuda', checkpoint, folder, tmp_path / 'two.npz', num_workers=2)
    assert (tmp_path / 'one.npz').read_bytes() == (tmp_path / 'two.npz').read_bytes()
    expected = features_on('cpu', checkpoint, folder, tmp_path / 'cpu.npz', num_workers=1)
    assert one.paths.tolist() == expected.paths.tolist()
    np.testing.assert_allclose(one.features, expected.features, rtol=1e-2, atol=1e-3)
