# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From a config to a Runner: what is adapted to a machine without GPUs, and what is refused."""

import copy
import os
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from vicmae.apis import build_runner, load_config
from vicmae.config.paths import project_file
from vicmae.engine.hardware import (
    adapt_to_cpu,
    choose_precision,
    choose_test_precision,
    let_device_skip,
)
from vicmae.engine.processes import init_gloo
from vicmae.errors import CheckpointError, ConfigError, DataError
from vicmae.registry import OPTIM_WRAPPERS
from vicmae.utils.distributed import default_timeout

BASE = project_file('configs/vicmae/vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py')
DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
IMAGES = 'train_dataloader.dataset.sources.images'
VIDEOS = 'train_dataloader.dataset.sources.videos'
SAMPLES = 'train_dataloader.sampler.samples_per_epoch'


@pytest.fixture
def debug(demo_data, tmp_path, monkeypatch):
    """Loads the debug config, with overrides, where its data are."""
    monkeypatch.chdir(demo_data.parents[1])

    def load(overrides=None):
        cfg = load_config(DEBUG, {'train_dataloader.num_workers': 0, **(overrides or {})})
        cfg.work_dir, cfg.launcher = str(tmp_path / 'work'), 'none'
        cfg.train_dataloader.persistent_workers = False
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        return cfg

    return load


@pytest.fixture
def one_image(demo_data, tmp_path):
    folder = tmp_path / 'one'
    folder.mkdir()
    picture = next((demo_data / 'images/train').rglob('*.jpg'))
    (folder / 'a.jpg').write_bytes(picture.read_bytes())
    return str(folder)


# ------------------------------------------------------------------------- adaptation
def test_mixed_precision_is_disabled_on_a_cpu():
    cfg = load_config(BASE)
    adapt_to_cpu(cfg)
    wrapper = cfg.optim_wrapper
    assert wrapper.type == 'OptimWrapper'
    assert set(wrapper) == {'type', 'constructor', 'optimizer', 'paramwise_cfg'}
    assert not any(cfg[f'{name}_dataloader'].pin_memory for name in ('train', 'val', 'test'))


@pytest.fixture
def gpu(monkeypatch):
    """Lets torch say whether a GPU has bfloat16."""

    def has_bfloat16(has):
        monkeypatch.setattr(
            torch.cuda,
            'is_bf16_supported',
            lambda including_emulation=True: has or including_emulation,
        )

    return has_bfloat16


def test_mixed_precision_is_bfloat16_without_a_scaler_if_the_gpu_has_it(gpu):
    gpu(True)
    for path in (BASE, DEBUG):
        cfg = load_config(path, {'optim_wrapper.type': 'AmpOptimWrapper'})
        choose_precision(cfg)
        assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper'
        assert not {'dtype', 'loss_scale'} & set(cfg.optim_wrapper)
    model = torch.nn.Linear(2, 2)
    settings = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('constructor', 'optimizer')}
    settings.pop('paramwise_cfg', None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(settings, optimizer=optimizer))
    assert wrapper.scale == 1
    assert not hasattr(wrapper, 'loss_scaler')


def test_mixed_precision_is_float16_with_a_scaler_if_the_gpu_lacks_bfloat16(gpu):
    gpu(False)
    cfg = load_config(BASE)
    choose_precision(cfg)
    wrapper = cfg.optim_wrapper
    assert (wrapper.type, wrapper.dtype) == ('AmpOptimWrapper', 'float16')
    assert wrapper.loss_scale == 'dynamic'


@pytest.mark.parametrize('has', [True, False])
def test_evaluation_in_mixed_precision_uses_bfloat16_if_the_gpu_has_it(gpu, has):
    gpu(has)
    before = torch.get_autocast_dtype('cuda')
    try:
        choose_test_precision(Config(dict(test_cfg=dict(fp16=True))))
        assert (torch.get_autocast_dtype('cuda') == torch.bfloat16) == has
    finally:
        torch.set_autocast_dtype('cuda', before)


@pytest.mark.parametrize(
    ('dtype', 'kind'), [(None, 'OptimWrapper'), ('bfloat16', 'BFloat16OptimWrapper')]
)
def test_without_a_gpu_mixed_precision_is_float32_unless_bfloat16_is_set(dtype, kind):
    wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype=dtype)
    cfg = Config(dict(optim_wrapper=wrapper))
    adapt_to_cpu(cfg)
    assert cfg.optim_wrapper == dict(type=kind)


@pytest.mark.parametrize('has', [True, False])
def test_bfloat16_on_a_cpu_without_it_is_warned_of(has, monkeypatch, log):
    monkeypatch.setattr('vicmae.engine.hardware.cpu_has_bfloat16', lambda: has)
    cfg = Config(dict(optim_wrapper=dict(type='BFloat16OptimWrapper')))
    adapt_to_cpu(cfg)
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper'
    assert any('emulates it' in line for line in log) != has


@pytest.mark.parametrize(
    ('dtype', 'kind'), [('float16', 'AmpOptimWrapper'), ('bfloat16', 'BFloat16OptimWrapper')]
)
def test_precision_in_the_config_is_kept(gpu, dtype, kind):
    gpu(dtype == 'float16')
    options = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': dtype}
    cfg = load_config(DEBUG, options)
    choose_precision(cfg)
    assert cfg.optim_wrapper.type == kind
    plain = load_config(DEBUG)
    choose_precision(plain)
    assert plain.optim_wrapper == load_config(DEBUG).optim_wrapper


def test_optimiser_is_fused_on_a_gpu_if_it_can_skip_steps_itself(gpu):
    gpu(True)
    cfg = load_config(BASE)
    choose_precision(cfg)
    let_device_skip(cfg)
    assert cfg.optim_wrapper.optimizer.fused
    for left in ({'optimizer.fused': False}, {'dtype': 'float16'}, {'optimizer.foreach': True}):
        cfg = load_config(BASE, {f'optim_wrapper.{name}': value for name, value in left.items()})
        choose_precision(cfg)
        let_device_skip(cfg)
        assert not cfg.optim_wrapper.optimizer.get('fused')


def test_data_parallel_wrapper_gets_no_devices_on_a_cpu():
    cfg = load_config(DEBUG)
    adapt_to_cpu(cfg)
    assert cfg.model_wrapper_cfg.type == 'MMDistributedDataParallel'
    assert cfg.model_wrapper_cfg.device_ids is None


def test_wrapper_of_the_user_is_kept():
    cfg = load_config(DEBUG, {'model_wrapper_cfg': dict(type='MMDistributedDataParallel')})
    before = copy.deepcopy(cfg.model_wrapper_cfg)
    adapt_to_cpu(cfg)
    assert cfg.model_wrapper_cfg == dict(before, device_ids=None)


def test_other_wrapper_is_one_option_for_every_config(tmp_path):
    of_ddp = tmp_path / 'of_ddp.py'
    ddp = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
    of_ddp.write_text(f'_base_ = {str(DEBUG)!r}\nmodel_wrapper_cfg = {ddp}\n')
    for config in (DEBUG, of_ddp):
        cfg = load_config(config, {'model_wrapper_cfg.type': 'FullyShard'})
        adapt_to_cpu(cfg)
        assert cfg.model_wrapper_cfg == dict(type='FullyShard')


def test_config_without_loaders_is_adapted_too():
    cfg = Config(dict(val_dataloader=None, optim_wrapper=None))
    adapt_to_cpu(cfg)
    assert cfg.val_dataloader is None


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', '`--launcher pytorch` finds no RANK, .*MASTER_PORT.*tools/dist_train.sh'),
        ('slurm', '`--launcher slurm` finds no SLURM_PROCID .*tools/slurm_train.sh'),
        ('mpi', '`--launcher mpi` is not supported. Use `--launcher pytorch`'),
    ],
)
def test_launcher_without_its_environment_is_refused(launcher, message, monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=message):
        init_gloo(launcher, {})


def free_port():
    """Two runs of the tests at once need different ones."""
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        return str(bound.getsockname()[1])


@pytest.mark.slow
def test_slurm_environment_is_enough_to_connect():
    code = (
        'import torch; from vicmae.engine.processes import init_gloo; init_gloo("slurm", {});'
        'print(torch.distributed.get_backend(), torch.distributed.get_world_size())'
    )
    slurm = dict(
        SLURM_PROCID='0', SLURM_NTASKS='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port()
    )
    run = subprocess.run(
        [sys.executable, '-c', code], env=os.environ | slurm, capture_output=True, text=True
    )
    assert run.stdout == 'gloo 1\n', run.stderr


@pytest.fixture
def one_rank(monkeypatch):
    """The environment that torchrun gives to the only process of a run; disconnected afterwards."""
    places = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(('given', 'seconds'), [({}, 1800), (dict(timeout=7200), 7200)])
@pytest.mark.parametrize('restarts', ['0', '1'])
def test_timeout_of_ranks_is_that_of_the_config(one_rank, monkeypatch, given, seconds, restarts):
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', restarts)
    init_gloo('pytorch', dict(backend='nccl', **given))
    (group,) = torch.distributed.distributed_c10d._world.pg_map
    waits = group._get_backend(torch.device('cpu')).options._timeout
    assert waits.total_seconds() == default_timeout().total_seconds() == seconds
    assert torch.distributed.get_backend() == 'gloo'


def test_invalid_timeout_is_refused(one_rank):
    with pytest.raises(ConfigError, match="dist_cfg.timeout` must be a number .* got '2 h'"):
        init_gloo('pytorch', dict(timeout='2 h'))
    init_gloo('pytorch', {})


# ------------------------------------------------------------------------- Runners
def test_runner_has_the_loader_and_the_model_of_the_config(debug):
    runner = build_runner(debug({SAMPLES: 16}), training=True)
    assert len(runner.train_dataloader) == 2
    assert type(runner.model).__name__ == 'ViCMAE'
    assert runner.train_dataloader.dataset.sizes == (48, 16)


def test_runner_for_a_test_builds_nothing_for_training(debug):
    cfg = debug({f'{IMAGES}.data_root': '/nowhere'})
    runner = build_runner(cfg, training=False)
    assert cfg.train_dataloader is cfg.optim_wrapper is None
    assert len(runner.test_dataloader.dataset) == 48 + 16 + 16 + 8


def test_missing_demo_data_are_made(debug, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    build_runner(debug(), training=True)
    assert len(list((tmp_path / 'data/demo-debug').rglob('*.mp4'))) == 24
    assert 'writing demo data: 64 images, 24 videos' in capsys.readouterr().err


# ------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ('overrides', 'error', 'message'),
    [
        ({f'{IMAGES}.data_root': '/nowhere'}, DataError, "got '/nowhere', which does not exist"),
        ({'load_from': 'no.pth'}, CheckpointError, "The checkpoint 'no.pth' does not exist"),
        ({'model.neck.num_heads': 5}, ConfigError, 'debug.py.* can.t be built'),
        ({'model.backbone.masking.mask_ratio': 75}, ConfigError, r'must be in \[0, 1\), got 75'),
        ({'train_dataloader.dataset.weights.images': -1}, ConfigError, 'must not be negative'),
        (
            {f'{VIDEOS}.type': 'FrameFolder', f'{VIDEOS}.data_root': '.'},
            ConfigError,
            f'`FrameFolder` needs `fps`: set `{VIDEOS}.fps=`',
        ),
        (
            {f'{IMAGES}.type': 'ImageShards'},
            ConfigError,
            f'`ImageShards` needs `shards`: set `{IMAGES}.shards=`',
        ),
        (
            {'train_dataloader.dataset.sources.image.data_root': 'x'},
            ConfigError,
            'no source `image` whose `data_root` could be set: did you mean `images`',
        ),
        (
            {f'{VIDEOS}.pipeline.0': dict(type='DistantFramePair')},
            ConfigError,
            'DistantFramePair needs an open video, but no earlier transform',
        ),
        (
            {f'{VIDEOS}.pipeline.0.reader': 'decrod'},
            ConfigError,
            "`reader` must be one of auto, pyav, decord, torchcodec, got 'decrod'",
        ),
        ({SAMPLES: 0}, ConfigError, '`samples_per_epoch` must be positive, got 0'),
        ({'optim_wrapper.optimizer.lr': -1.0}, ConfigError, 'Invalid learning rate: -1.0'),
    ],
)
def test_invalid_config_is_one_message(debug, overrides, error, message):
    with pytest.raises(error, match=message):
        build_runner(debug(overrides), training=True)


def test_work_dir_below_a_file_is_refused(debug, tmp_path):
    cfg = debug()
    (tmp_path / 'file').touch()
    cfg.work_dir = str(tmp_path / 'file/work')
    with pytest.raises(ConfigError, match=r"Can't write to `--work-dir` '.*file/work': Not a dir"):
        build_runner(cfg, training=True)


def test_batch_larger_than_an_epoch_is_refused_with_advice(debug, one_image):
    overrides = {
        f'{IMAGES}.data_root': one_image,
        'train_dataloader.dataset.sources.videos': None,
        SAMPLES: None,
    }
    with pytest.raises(
        ConfigError,
        match=r'1 sample on each of 1 process,.*not one batch of 8. Lower `train_dataloader',
    ):
        build_runner(debug(overrides), training=True)


@pytest.mark.parametrize('overrides', [{'train_dataloader.batch_size': 1}, {SAMPLES: 17}])
def test_batch_of_one_is_refused_before_batch_norm_fails_on_it(debug, overrides):
    cfg = debug(overrides)
    cfg.train_dataloader.drop_last = False
    with pytest.raises(ConfigError, match='has a batch of one, and the batch norm .* needs two'):
        build_runner(cfg, training=True)


def test_batch_of_one_is_accepted_without_batch_norm(debug):
    overrides = {'train_dataloader.batch_size': 1, SAMPLES: 2, 'train_cfg.max_epochs': 1}
    overrides |= {'model.predictor.norm': 'LN', 'model.target.head.norm': 'LN'}
    runner = build_runner(debug(overrides), training=True)
    runner.train()
    assert runner.iter == 2
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_checkpoint_to_resume_from_is_checked_before_building(debug):
    cfg = debug()
    os.makedirs(cfg.work_dir)
    path = os.path.join(cfg.work_dir, 'lost.pth')
    cfg.load_from = path
    with pytest.raises(CheckpointError, match='The checkpoint .* does not exist'):
        build_runner(cfg, training=True)
    with open(path, 'wb') as file:
        file.write(b'PK\x03\x04 the first bytes of an archive')
    cfg.load_from = path
    with pytest.raises(CheckpointError, match='or is truncated'):
        build_runner(cfg, training=True)
