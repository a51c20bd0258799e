# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""All options that name weights load them by one function, which reads the file once and reports the same."""

import os

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.structures import DataSample

from vicmae.checkpoints import read
from vicmae.checkpoints.fit import load_weights
from vicmae.checkpoints.state import collect_state
from vicmae.checkpoints.write import write_checkpoint
from vicmae.errors import CheckpointError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_runner, toy_transfer_config, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size


def pretrained(path):
    """Writes a checkpoint of the toy model at another size, with a weight too many and one too few."""
    config = toy_vicmae_config()
    config['backbone'] = {**config['backbone'], 'img_size': 24}
    state = randomize(MODELS.build(config)).state_dict()
    state['extra'] = torch.zeros(2)
    del state['predictor.0.weight']
    write_checkpoint(path, dict(state_dict=state, meta={}))
    return str(path)


def by_load_from(path, folder):
    runner = toy_runner(
        folder,
        model=MODELS.build(toy_vicmae_config()),
        load_from=path,
        hooks=[dict(type='CheckpointFitHook', strict=False)],
    )
    runner.load_or_resume()
    return runner.model


def by_init_cfg(path, folder):
    init_cfg = dict(type='Pretrained', checkpoint=path)
    model = MODELS.build({**toy_vicmae_config(), 'init_cfg': init_cfg})
    model.init_weights()
    return model


def by_python(path, folder):
    model = MODELS.build(toy_vicmae_config())
    load_weights(model, read.read_weights(path), source=repr(path), strict=False)
    return model


@pytest.mark.parametrize('load', [by_load_from, by_init_cfg, by_python])
@pytest.mark.filterwarnings('ignore:Position embeddings')
def test_every_way_of_loading_reports_the_same(tmp_path, load, capsys):
    path = pretrained(tmp_path / 'a.pth')
    MMLogger.get_instance('ways_of_loading')  # one that writes to where `capsys` looks
    model = load(path, tmp_path / 'run')
    state = torch.load(path)['state_dict']
    name = 'backbone.layers.0.attn.qkv.weight'
    assert torch.equal(model.state_dict()[name], state[name])
    said = [line for line in capsys.readouterr().out.splitlines() if 'Weights of' in line]
    assert len(said) == 1
    resized = 'backbone.pos_embed, neck.decoder_pos_embed'
    assert said[0].endswith(
        f'Weights of {path!r}: {len(state) - 1} mapped, 2 resized ({resized}), 0 of another shape, '
        '1 unused (extra), 1 missing (predictor.0.weight).'
    )


@pytest.mark.filterwarnings('ignore:Position embeddings')
def test_strict_ways_of_loading_refuse_and_load_nothing(tmp_path):
    weights = read.read_weights(pretrained(tmp_path / 'a.pth'))
    model = MODELS.build(toy_vicmae_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as refused:
        load_weights(model, weights, source='a.pth')
    assert f'{len(before) - 1} of {len(before)} weights fit' in str(refused.value)
    assert '1 unknown to the model: extra' in str(refused.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_init_cfg_of_a_part_loads_the_keys_with_its_prefix(tmp_path):
    source = randomize(MODELS.build(toy_vicmae_config()))
    write_checkpoint(tmp_path / 'a.pth', dict(state_dict=source.state_dict()))
    config = toy_vicmae_config()
    config['backbone']['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.'
    )
    model = MODELS.build(config)
    model.init_weights()
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name


def test_init_cfg_of_which_nothing_fits_is_refused(tmp_path):
    write_checkpoint(tmp_path / 'a.pth', dict(state_dict={'fc.weight': torch.zeros(2)}))
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    model = MODELS.build({**toy_vicmae_config(), 'init_cfg': init_cfg})
    with pytest.raises(
        CheckpointError, match=r'(?s)0 of .* weights fit.*convert.py --from FORMAT .* mae, mae-st'
    ):
        model.init_weights()


def test_mmengines_loaders_are_not_changed(tmp_path):
    by_load_from(pretrained(tmp_path / 'a.pth'), tmp_path / 'run')
    assert all(f.__module__.startswith('mm') for f in CheckpointLoader._schemes.values())


# ------------------------------------------------------------------------- resuming
def count_reads():
    """Makes the reading functions count their calls, by file."""
    counts = {'hashed': [], 'read': []}
    hash_of, load = read.hash_of, read.load_checkpoint_file

    def hashing(path):
        counts['hashed'].append(os.path.basename(path))
        return hash_of(path)

    def loading(path, *args):
        counts['read'].append(os.path.basename(path))
        return load(path, *args)

    return counts, hashing, loading


def resume(folder):
    """Trains one epoch, then resumes for another. Returns the files that the second hashed and read on this rank."""
    distributed = dict(launcher='pytorch') if torch.distributed.is_initialized() else {}
    os.environ['LOCAL_RANK'] = '0'
    hook = dict(checkpoint=dict(type='SafeCheckpointHook', interval=1))
    wrapper = dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None))
    options = dict(default_hooks=hook, cfg=wrapper, **distributed)
    toy_runner(folder, max_epochs=1, **options).train()
    counts, hashing, loading = count_reads()
    saved = read.hash_of, read.load_checkpoint_file
    read.hash_of, read.load_checkpoint_file = hashing, loading
    try:
        toy_runner(folder, max_epochs=2, resume=True, **options).train()
    finally:
        read.hash_of, read.load_checkpoint_file = saved
    return counts


def test_checkpoint_is_hashed_and_read_once_when_a_run_resumes(tmp_path):
    assert resume(tmp_path) == {'hashed': ['epoch_1.pth'], 'read': ['epoch_1.pth']}


def test_checkpoint_is_hashed_by_one_of_two_ranks(gloo_pool, tmp_path):
    first, second = gloo_pool.run(resume, 2, tmp_path)
    assert first == {'hashed': ['epoch_1.pth'], 'read': ['epoch_1.pth']}
    assert second == {'hashed': [], 'read': ['epoch_1.pth']}


def refused_on(path):
    try:
        read.load_checkpoint(path)
    except CheckpointError as error:
        return rank_and_world_size()[0], str(error)
    return None


def test_corrupt_checkpoint_is_refused_on_all_ranks(gloo_pool, tmp_path):
    write_checkpoint(tmp_path / 'a.pth', dict(state_dict={'w': torch.zeros(99)}))
    content = bytearray((tmp_path / 'a.pth').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'a.pth').write_bytes(content)
    said = gloo_pool.run(refused_on, 2, str(tmp_path / 'a.pth'))
    assert [rank for rank, _ in said] == [0, 1]
    assert said[0][1] == said[1][1] and 'is corrupt or was changed' in said[0][1]


def test_file_that_changes_after_it_was_verified_is_hashed_again(tmp_path):
    write_checkpoint(tmp_path / 'a.pth', dict(state_dict={'w': torch.zeros(99)}))
    read.require_whole(tmp_path / 'a.pth')
    times = os.stat(tmp_path / 'a.pth')
    content = bytearray((tmp_path / 'a.pth').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'a.pth').write_bytes(content)
    os.utime(tmp_path / 'a.pth', ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CheckpointError, match='is corrupt or was changed'):
        read.require_whole(tmp_path / 'a.pth')


def finetune(folder, path, max_epochs, resume=False, wrapper=None):
    """Fine-tunes the toy classifier from a pretrained checkpoint. Returns its final weights."""
    torch.manual_seed(rank_and_world_size()[0])
    distributed = dict(launcher='pytorch') if wrapper else {}
    os.environ['LOCAL_RANK'] = '0'
    generator = torch.Generator().manual_seed(0)
    samples = [
        {'inputs': 255 * torch.rand(3, 16, 16, generator=generator), 'label': i % 4}
        for i in range(16)
    ]
    runner = toy_runner(
        folder,
        max_epochs=max_epochs,
        model=toy_transfer_config(pretrained=path),
        hooks=[dict(type='StepSeedHook'), dict(type='ClassFitHook')],
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1)),
        train_dataloader=dict(
            batch_size=4,
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=as_labelled,
        ),
        cfg=dict(model_wrapper_cfg=dict(type=wrapper)) if wrapper else None,
        randomness=dict(seed=3),
        resume=resume,
        **distributed,
    )
    runner.train()
    return collect_state(runner.model)


def as_labelled(samples):
    return dict(
        inputs=[s['inputs'] for s in samples],
        data_samples=[DataSample().set_gt_label(s['label']) for s in samples],
    )


def write_pretrained(path):
    source = randomize(MODELS.build(toy_vicmae_config()))
    write_checkpoint(path, dict(state_dict=source.state_dict()))
    return str(path)


def assert_same_state(one, other):
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name


def test_finetuning_resumes_bit_for_bit_without_the_pretrained_file(tmp_path):
    path = write_pretrained(tmp_path / 'pretrained.pth')
    unbroken = finetune(tmp_path / 'whole', path, max_epochs=2)
    finetune(tmp_path / 'parts', path, max_epochs=1)
    os.unlink(path)
    assert_same_state(finetune(tmp_path / 'parts', path, max_epochs=2, resume=True), unbroken)
    with pytest.raises(CheckpointError, match='The checkpoint .* does not exist'):
        finetune(tmp_path / 'new', path, max_epochs=1, resume=True)  # nothing to resume there


def test_sharded_finetuning_resumes_without_the_pretrained_file(gloo_pool, tmp_path):
    path = write_pretrained(tmp_path / 'pretrained.pth')
    arguments = (2, False, 'FullyShard')
    unbroken = gloo_pool.run(finetune, 2, tmp_path / 'whole', path, *arguments)[0]
    gloo_pool.run(finetune, 2, tmp_path / 'parts', path, 1, False, 'FullyShard')
    os.unlink(path)
    resumed = gloo_pool.run(finetune, 2, tmp_path / 'parts', path, 2, True, 'FullyShard')[0]
    assert_same_state(resumed, unbroken)
