# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The linear probe for small sets is as good as a logistic regression of the same features, on real images."""

import math

import pytest
import torch

from vicmae.apis import build_runner, load_config
from vicmae.config.paths import project_file
from vicmae.registry import MODELS

DATA = project_file('.') / '../shared/data/real_mini/images'
SMALL = dict(image_size=32, patch_size=16, model_size='tiny', data_root=str(DATA), num_classes=100)
FEW = dict(max_per_class=5, subset_seed=0)


def options(place, work_dir, weights):
    """Options of a run in this process: 500 images to train on, 1,358 to test on."""
    loader = dict(num_workers=0, persistent_workers=False)
    changes = {f'{place[0]}.{key}': value for key, value in loader.items()}
    changes |= {f'{place[1]}.{key}': value for key, value in FEW.items()}
    return {**SMALL, **changes, **weights, 'work_dir': str(work_dir), 'launcher': 'none'}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f'needs the real pictures at {DATA}')
def test_linear_probe_of_500_images_agrees_with_logistic_regression(tmp_path):
    linear = 'vit-base-p16_vicmae-800e-pre_linear-1xb64-coslr-50e_small-data'
    torch.manual_seed(0)
    model = MODELS.build(load_config(linear, SMALL).model)
    model.init_weights()
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), weights)

    places = 'train_dataloader', 'train_dataloader.dataset'
    runner_options = options(places, tmp_path / 'linear', {'model.pretrained': str(weights)})
    cfg = load_config(linear, {**runner_options, 'train_cfg.val_interval': 50})
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    runner = build_runner(cfg, training=True)
    runner.train()
    trained = runner.message_hub.get_scalar('val/accuracy/top1').current() / 100

    places = 'test_dataloader', 'test_dataloader.dataset.sources.image_bank'
    cfg = load_config(
        'vit-base-p16_vicmae-800e-pre_probes_in1k', options(places, tmp_path / 'probes', {})
    )
    cfg.test_evaluator = [dict(type='LogisticAccuracy')]
    cfg.test_cfg.cache_dir = None
    cfg.load_from = str(weights)
    fitted = build_runner(cfg, training=False).test()['images/logistic_top1'] / 100

    # Three standard deviations of the difference, as if the two were measured on different images.
    variance = sum(share * (1 - share) / 1358 for share in (trained, fitted))
    assert abs(trained - fitted) < 3 * math.sqrt(variance), (trained, fitted)
    assert fitted > 0.04  # chance is 0.01
