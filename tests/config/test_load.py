# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Configs in which every name is checked."""

import pytest

from vicmae.config.check import find_type, registered_names
from vicmae.config.load import apply_overrides, load_config
from vicmae.config.paths import project_file
from vicmae.errors import ConfigError

DEBUG = project_file('configs/vicmae/vicmae_vit-tiny-p8_debug.py')


def load(**overrides):
    """The debug config with overrides; `__` stands for a dot."""
    return load_config(DEBUG, {key.replace('__', '.'): value for key, value in overrides.items()})


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


# ------------------------------------------------------------------------- keys
@pytest.mark.parametrize(
    ('key', 'message'),
    [
        (
            'optimzer.lr',
            r"'optimzer' is not one at the top. Did you mean optim_wrapper.optimizer.lr",
        ),
        ('optimizer.lr', r"'optimizer' is not one"),
        ('model.backbone.drop_path', r'not one of `model.backbone`. Did you mean drop_path_rate'),
        ('model.aggregator.kind', r"'kind' is not one of `model.aggregator`"),
        (
            'model.agregator.type',
            r"'agregator' is not one of `model`. Did you mean model.aggregator.type",
        ),
        ('optim_wrapper.optimizer.lrr', r'not one of `optim_wrapper.optimizer`. Did you mean lr'),
        ('train_dataloader.batchsize', r'not one of `train_dataloader`. Did you mean batch_size'),
        ('train_dataloader.sampler.samples', r'Known here: dataset, samples_per_epoch, seed'),
        ('train_dataloader.dataset.source', r'Did you mean sources'),
        ('train_dataloader.dataset.sources.images.data_rot', r'Did you mean data_root'),
        ('optim_wrapper.paramwise_cfg.norm_decay', r'Did you mean norm_decay_mult'),
        ('optim_wrapper.clip_gard.max_norm', r'Did you mean clip_grad'),
        ('train_cfg.max_epoch', r'not one of `train_cfg`. Did you mean max_epochs'),
        ('randomness.seeed', r'not one of `randomness`. Did you mean seed'),
        ('default_hooks.logger.intervall', r'Did you mean interval'),
        ('param_scheduler.1.T_maxx', r'not one of `param_scheduler.1`. Did you mean T_max'),
        ('param_scheduler.7.T_max', r"`param_scheduler` is a list of 2, which has no item '7'"),
        ('param_scheduler.last.T_max', r"is a list of 2, which has no item 'last'"),
        (
            'train_dataloader.dataset.sources.images.pipeline.1.transforms.0.sise',
            r'not one of `.*pipeline.1.transforms.0`. Did you mean size',
        ),
        ('optim_wrapper.clip_grad.max_nrm', r'Did you mean max_norm'),
        ('demo_data.rot', r'not one of `demo_data`. Did you mean root'),
        ('train_cfg.max_epochs.x', r'`train_cfg.max_epochs` is 2, which has nothing inside'),
    ],
)
def test_key_that_nothing_reads_is_refused_with_the_nearest_names(key, message):
    with pytest.raises(ConfigError, match=message):
        load_config(DEBUG, {key: 1})


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.backbone.drop_path_rate', 0.1),
        ('optim_wrapper.clip_grad.max_norm', 1.0),
        ('optim_wrapper.accumulative_counts', 2),
        ('optim_wrapper.paramwise_cfg.bias_lr_mult', 2.0),
        ('default_hooks.progress.priority', 'LOW'),
        ('optim_wrapper.optimizer.fused', True),
        ('optim_wrapper.paramwise_cfg.custom_keys.pos_embed.decay_mult', 0.0),
        ('train_dataloader.prefetch_factor', 4),
        ('train_dataloader.dataset.weights.images', 3),
        ('train_dataloader.dataset.sources.videos', None),
        ('train_dataloader.dataset.sources.images.ann_file', 'list.txt'),
        ('train_dataloader.dataset.sources.more', dict(type='ImageFolder', data_root='x')),
        ('model.projector', dict(type='MLPHead', hidden_dim=8, out_dim=8)),
        ('randomness.deterministic', True),
        ('val_dataloader', None),
        ('find_unused_parameters', True),
        ('default_hooks.checkpoint.save_best', 'images/knn_top1'),
        ('load_from', 'x.pth'),
        ('test_cfg.fp16', True),
        ('auto_scale_lr.enable', True),
        ('env_cfg.dist_cfg.timeout', 60),
    ],
)
def test_key_that_something_reads_is_accepted_if_the_config_lacks_it(key, value):
    node = load_config(DEBUG, {key: value})
    for part in key.split('.'):
        node = node[part]
    assert node == value


def test_item_of_a_list_is_changed_in_place():
    cfg = load(param_scheduler__1__warmup_share=0.25)
    assert [s['type'] for s in cfg.param_scheduler] == ['WarmupLR', 'CosineLR']
    assert cfg.param_scheduler[1].warmup_share == 0.25


def test_overrides_keep_the_rest():
    cfg, plain = load(train_dataloader__batch_size=4), load()
    assert cfg.train_dataloader.pop('batch_size') == 4
    assert plain.train_dataloader.pop('batch_size') == 8
    assert cfg.to_dict() == plain.to_dict()


# ------------------------------------------------------------------------- types
def test_swap_of_a_type_drops_arguments_that_the_new_one_does_not_take():
    contrastive = load(
        model__head__contrastive__type='PixelReconstructionLoss'
    ).model.head.contrastive
    assert contrastive == dict(type='PixelReconstructionLoss')
    decoder = load(train_cfg__type='IterBasedTrainLoop', train_cfg__max_iters=5).train_cfg
    assert decoder == dict(type='IterBasedTrainLoop', max_iters=5, val_interval=2)


def test_swap_of_a_type_keeps_arguments_that_both_take():
    wrapper = load(optim_wrapper__optimizer__type='SGD').optim_wrapper
    assert wrapper.optimizer.type == 'SGD'
    assert set(wrapper.optimizer) == {'type', 'lr', 'weight_decay'}  # no betas


def test_arguments_of_the_new_type_come_after_the_swap_in_any_order():
    overrides = {'optim_wrapper.optimizer.momentum': 0.9, 'optim_wrapper.optimizer.type': 'SGD'}
    assert load_config(DEBUG, overrides).optim_wrapper.optimizer.momentum == 0.9


def test_argument_of_the_old_type_is_refused_after_a_swap():
    overrides = {'optim_wrapper.optimizer.type': 'SGD', 'optim_wrapper.optimizer.betas': (0, 1)}
    with pytest.raises(ConfigError, match=r"'betas' is not one of `optim_wrapper.optimizer`"):
        load_config(DEBUG, overrides)


def test_swap_of_the_optimizer_wrapper_keeps_keys_that_mmengine_removes():
    cfg = load(optim_wrapper__type='AmpOptimWrapper', optim_wrapper__dtype='bfloat16')
    assert cfg.optim_wrapper.constructor == 'CheckedOptimWrapperConstructor'
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    swapped = load(
        param_scheduler__1__type='LinearLR', param_scheduler__1__convert_to_iter_based=True
    )
    assert swapped.param_scheduler[1].convert_to_iter_based


def test_swap_to_a_part_without_arguments_drops_all(tmp_path):
    text = f"_base_ = '{DEBUG}'\nmodel = dict(aggregator=dict(type='MLPHead', out_dim=8))"
    overrides = {'model.aggregator.type': 'MaxPooling'}
    aggregator = load_config(write(tmp_path / 'a.py', text), overrides).model.aggregator
    assert aggregator == dict(type='MaxPooling')


def test_pooling_is_swapped_by_one_option():
    assert load(model__aggregator__type='MaxPooling').model.aggregator == dict(type='MaxPooling')


@pytest.mark.parametrize(
    ('key', 'name', 'near'),
    [
        ('model.aggregator.type', 'MeenPooling', 'MeanPooling'),
        ('model.target.type', 'SharedTargt', 'SharedTarget'),
        (
            'train_dataloader.dataset.sources.videos.pipeline.1.type',
            'DistantFramPair',
            'DistantFramePair',
        ),
        ('optim_wrapper.optimizer.type', 'AdamWW', 'AdamW'),
        ('param_scheduler.0.type', 'LinerLR', 'LinearLR'),
        ('default_hooks.checkpoint.type', 'ChekpointHook', 'CheckpointHook'),
        ('val_evaluator.type', 'KNNAcuracy', 'KNNAccuracy'),
    ],
)
def test_type_that_is_not_registered_is_named_with_its_place_and_the_nearest(key, name, near):
    with pytest.raises(
        ConfigError, match=rf"`{key}` is '{name}', which is not registered. Did you mean .*{near}"
    ):
        load_config(DEBUG, {key: name})


def test_type_of_another_package_is_found_by_its_scope():
    assert find_type('mmpretrain.LabelSmoothLoss').__name__ == 'LabelSmoothLoss'
    assert find_type('mmpretrain.NoSuchLoss') is None


def test_suggested_names_include_those_of_mmengine():
    assert {'ViCMAE', 'MixtureSampler', 'AdamW', 'CheckpointHook'} <= set(registered_names())


# ------------------------------------------------------------------------- files
def test_missing_config_suggests_near_names():
    with pytest.raises(ConfigError, match=r"no config '.*debog.py'. Did you mean .*_debug"):
        load_config(DEBUG.with_name('vicmae_vit-tiny-p8_debog.py'))


def test_base_of_the_installed_package_is_found_from_any_folder(tmp_path):
    text = f"_base_ = 'vicmae::vicmae/{DEBUG.name}'\nmodel = dict(aggregator=dict(type='MaxPooling'))\n"
    cfg = load_config(write(tmp_path / 'own.py', text))
    assert cfg.model.aggregator.type == 'MaxPooling'
    assert cfg.train_cfg.max_epochs == load_config(DEBUG).train_cfg.max_epochs
    # The Runner would call functions, such as the one that collates, with it.
    assert '_scope_' not in cfg.pretty_text


def test_config_is_found_by_its_name():
    assert load_config(DEBUG.stem).filename == str(DEBUG)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(', 'Can.t read the config .*a.py'),
        ('model = undefined', "Can.t read the config .*a.py.*'undefined' is not defined"),
        ("_base_ = './lost.py'", 'Can.t read the config .*a.py.*lost.py'),
    ],
)
def test_config_that_python_cannot_read_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path / 'a.py', text))


def test_two_bases_that_define_one_key_are_an_error(tmp_path):
    write(tmp_path / 'one.py', 'x = 1')
    write(tmp_path / 'two.py', 'x = 2')
    with pytest.raises(ConfigError, match='Duplicate key.*x'):
        load_config(write(tmp_path / 'a.py', "_base_ = ['one.py', 'two.py']"))


def test_custom_module_registers_its_types(tmp_path, monkeypatch):
    write(
        tmp_path / 'my_poolings.py',
        'from torch import nn\n'
        'from vicmae.registry import MODELS\n'
        '@MODELS.register_module()\n'
        'class MyPooling(nn.Module):\n    pass\n',
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = write(
        tmp_path / 'a.py',
        f"_base_ = '{DEBUG}'\n"
        "custom_imports = dict(imports=['my_poolings'])\n"
        "model = dict(aggregator=dict(type='MyPooling', _delete_=True))\n",
    )
    assert load_config(config).model.aggregator.type == 'MyPooling'
    from vicmae.registry import MODELS

    MODELS.module_dict.pop('MyPooling')


def test_overrides_of_a_loaded_config_are_checked_too():
    cfg = load()
    with pytest.raises(ConfigError, match="'lrr' is not one"):
        apply_overrides(cfg, {'optim_wrapper.optimizer.lrr': 1})


def derive(tmp_path, text):
    """A config file that changes the debug config."""
    path = tmp_path / 'own.py'
    path.write_text(f'_base_ = {str(DEBUG)!r}\n{text}\n')
    return path


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'modle = dict(aggregator=dict())',
            'key `modle`, which nothing reads. Did you mean `model`',
        ),
        ('custom_hook = []', 'key `custom_hook`, which nothing reads. Did you mean `custom_hooks`'),
        (
            'model = dict(backbone=dict(masking=dict(mask_ration=0.5)))',
            '`model.backbone.masking.mask_ration`: RandomMasking takes no .* Did you mean mask_ratio',
        ),
        (
            'train_dataloader = dict(batchsize=4)',
            '`train_dataloader.batchsize`: train_dataloader takes no .* Did you mean batch_size',
        ),
        (
            "model = dict(target=dict(type='EMATarget', head=None))",
            '`model.target.head`: EMATarget takes no `head`.*momentum, masked',
        ),
        (
            "optim_wrapper = dict(optimizer=dict(lr='abc'))",
            "`optim_wrapper.optimizer.lr` must be a number, got 'abc'",
        ),
        (
            "model = dict(backbone=dict(img_size='x'))",
            "`model.backbone.img_size` must be a number, got 'x'",
        ),
    ],
)
def test_config_file_with_an_unread_key_or_invalid_value_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(derive(tmp_path, text))


def test_override_of_a_variable_names_the_values_that_it_went_into(tmp_path):
    source = "dict(dataset=dict(sources=dict(images=dict(data_root=pictures + '/train'))))"
    path = derive(tmp_path, f"pictures = 'my'\ntrain_dataloader = {source}")
    message = r'`pictures` is read by the config file alone: .*sources.images.data_root'
    with pytest.raises(ConfigError, match=message):
        load_config(path, dict(pictures='other'))


def test_variables_of_a_config_file_are_accepted(tmp_path):
    cfg = load_config(derive(tmp_path, 'picture_side = 64\nepochs = 3\ntrain_list = []\nseed = 1'))
    assert cfg.epochs == 3


def test_name_instead_of_a_part_is_refused_with_advice():
    with pytest.raises(ConfigError, match='Did you mean `model.aggregator.type=MaxPooling`'):
        load_config(DEBUG, {'model.aggregator': 'MaxPooling'})


# ------------------------------------------------------------------------- another type
@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.target', 'EMATarget'),
        ('model.aggregator', 'AttentionPooling'),
        ('optim_wrapper.optimizer', 'SGD'),
        ('optim_wrapper', 'AmpOptimWrapper'),
        ('train_cfg', 'EpochLoop'),
    ],
)
def test_file_and_command_line_swap_a_part_equally(tmp_path, key, value):
    text = f"dict(type='{value}')"
    for name in reversed(key.split('.')[1:]):
        text = f'dict({name}={text})'
    path = derive(tmp_path, f'{key.split(".")[0]} = {text}')
    expected = load_config(DEBUG, {f'{key}.type': value})
    assert load_config(path)._cfg_dict == expected._cfg_dict


def test_part_is_swapped_for_a_custom_type_through_several_files(tmp_path, monkeypatch):
    write(
        tmp_path / 'own_target.py',
        'from torch import nn\nfrom vicmae.registry import MODELS\n'
        "@MODELS.register_module(name='OwnTarget', force=True)\n"
        'class OwnTarget(nn.Module):\n    def __init__(self, *, sharpness=1):\n        super().__init__()\n',
    )
    monkeypatch.syspath_prepend(tmp_path)
    first = derive(tmp_path, "model = dict(target=dict(type='EMATarget', momentum=0.9))")
    second = write(
        tmp_path / 'second.py',
        f"_base_ = {str(first)!r}\ncustom_imports = dict(imports=['own_target'])\n"
        "model = dict(target=dict(type='OwnTarget'))\n",
    )
    third = f'_base_ = {str(second)!r}\nmodel = dict(target=dict(%s=3))\n'
    path = write(tmp_path / 'third.py', third % 'sharpness')
    assert load_config(path).model.target == dict(type='OwnTarget', sharpness=3)
    path = write(tmp_path / 'wrong.py', third % 'momentum')
    with pytest.raises(ConfigError, match='`model.target.momentum`: OwnTarget takes no `momentum`'):
        load_config(path)


# ------------------------------------------------------------------------- values of another kind
def test_dict_replaces_a_name(tmp_path):
    arch = dict(embed_dims=192, num_layers=2, num_heads=3, feedforward_channels=64)
    path = derive(
        tmp_path, "model = dict(backbone=dict(_delete_=True, type='MaskedViT', arch='tiny'))"
    )
    assert load_config(path, {'model.backbone.arch': arch}).model.backbone.arch == arch


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('param_scheduler.0', 3, '`param_scheduler.0` must be a dict or None, got 3'),
        ('train_dataloader', [1], r'`train_dataloader` must be a dict or None, got \[1\]'),
        ('model.backbone', 5, '`model.backbone` must be a dict or None, got 5'),
        ('val_evaluator', [1], r'`val_evaluator` must be .* got \[1\]'),
        ('custom_hooks', 'x', "`custom_hooks` must be a list of dicts or None, got 'x'"),
        ('custom_hooks', [1], r'`custom_hooks` must be a list of dicts or None, got \[1\]'),
        ('custom_hooks', dict(type='EMAHook'), "must be a list of dicts or None, got {'type'"),
        (
            'image_size',
            96.5,
            '`image_size` must be a positive whole number or a pair of them, got 96.5',
        ),
        (
            'image_size',
            '96',
            "`image_size` must be a positive whole number or a pair of them, got '96'",
        ),
        ('image_size', (64, 0), r'positive whole number or a pair of them, got \(64, 0\)'),
        (
            'image_size',
            (64, 64, 64),
            r'positive whole number or a pair of them, got \(64, 64, 64\)',
        ),
        ('patch_size', (8, 8), r'`patch_size` must be a positive whole number, got \(8, 8\)'),
        ('num_frames', 0, '`num_frames` must be a positive whole number, got 0'),
        ('num_classes', True, '`num_classes` must be a positive whole number, got True'),
        ('train_dataloader.batch_size', 'eight', "batch_size` must be a number, got 'eight'"),
    ],
)
def test_override_of_another_type_is_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        load_config(DEBUG, {key: value})


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('custom_hooks', None),
        ('custom_hooks', []),
        ('param_scheduler', dict(type='ConstantLR', factor=1.0)),
        ('val_evaluator', [dict(type='KNNAccuracy')]),
        ('train_dataloader.dataset.sources.images', None),
    ],
)
def test_override_of_a_kind_that_mmengine_takes_is_accepted(key, value):
    cfg = load_config(DEBUG, {key: value})
    for part in key.split('.'):
        cfg = cfg[part]
    assert cfg == value


def test_image_size_may_be_a_pair():
    assert load_config(DEBUG, {'image_size': (32, 64)}).model.backbone.img_size == (32, 64)


def test_module_that_is_missing_is_named_without_a_list_of_folders(tmp_path):
    path = derive(tmp_path, "custom_imports = dict(imports=['no_such_module'])")
    with pytest.raises(ConfigError, match="No module named 'no_such_module'.*PYTHONPATH=") as error:
        load_config(path)
    assert '\n' not in str(error.value)


def test_base_by_name_alone_is_refused_with_how_to_name_it(tmp_path):
    path = write(tmp_path / 'own.py', "_base_ = 'vicmae::vicmae_vit-tiny-p8_debug'")
    with pytest.raises(ConfigError, match="'vicmae::vicmae/NAME.py'.*configs --path NAME"):
        load_config(path)
