# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Each ablation trains two steps, small: its own parts, on real files."""

import json
import math
import re

import pytest

from vicmae.apis import build_runner
from vicmae.config.paths import project_file

from .cached import load

FOLDER = project_file('configs/vicmae/ablations')
BASE = project_file('configs/vicmae/vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py')
ABLATIONS = sorted(FOLDER.glob('*.py'))
WHOLE = [
    BASE,
    *sorted(project_file('configs/vicmae').glob('*official-code*.py')),
    *sorted(project_file('configs/vicmae').glob('*base-p16_8xb512-*_k400.py')),
    *sorted(project_file('configs/vicmae').glob('*base-p16_8xb512-*-mit.py')),
    *sorted(project_file('configs/vicmae').glob('*base-p16_*clips_*.py')),
    *sorted(project_file('configs').glob('mae/*-p16_*.py')),
    *sorted(project_file('configs').glob('simclr/*-p16_*.py')),
    *sorted(project_file('configs').glob('videomae/*-base-p16_*.py')),
    *sorted(project_file('configs').glob('maest/*-base-p16_*.py')),
    *sorted(project_file('configs').glob('omnimae/*-base-p16_*.py')),
]

# One of each mechanism, trained in the fast tests.
FAST = (
    'aug-videos-both',
    'gap-uniform',
    'loss-byol',
    'masking-block',
    'official-code',
    'pooling-attention',
    'reconstruction-off',
)


def change_of(path):
    """Returns the part of a name after the backbone: what the config changes in its base."""
    return path.stem.split('_')[2]


def shrink(node):
    """The same config with everything in it small."""
    small = dict(size=64, img_size=64, patch_size=8, hidden_dim=16, num_heads=2)
    if isinstance(node, list):
        for item in node:
            shrink(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in small:
            node[key] = small[key]
        elif key == 'out_dim':
            node[key] = 8
        elif key == 'arch':
            node[key] = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)
        elif node.get('type') == 'MAEDecoder' and key in ('embed_dim', 'depth'):
            node[key] = {'embed_dim': 16, 'depth': 1}[key]
        else:
            shrink(value)


def shrink_clips(node):
    """Clips of four frames in the place of longer ones."""
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        shrink_clips(item)
    if isinstance(node, dict):
        for key in node.keys() & {'clip_len', 'num_frames', 'num_segments'}:
            node[key] = min(node[key], 4)


def shorten(cfg, data, work_dir):
    """Two steps of four pairs in this process."""
    shrink(cfg._cfg_dict)
    shrink_clips(cfg._cfg_dict)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.sampler.samples_per_epoch = 8
    if cfg.train_dataloader.get('batch_sampler'):  # a step of each source
        cfg.train_dataloader.dataset.weights = dict.fromkeys(
            cfg.train_dataloader.dataset.sources, 1
        )
    for name, source in cfg.train_dataloader.dataset.sources.items():
        if source is not None:
            source.pop('ann_file', None)
            source.data_root = str(data / name / 'train')
    cfg.merge_from_dict(dict.fromkeys(['val_dataloader', 'val_cfg', 'val_evaluator']))
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.interval = 100
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.experiment_name = work_dir.name
    return cfg


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (change_of(path) not in FAST))
        for path in ABLATIONS + WHOLE
    ],
)
def test_config_trains_two_steps(path, demo_data, tmp_path):
    runner = build_runner(shorten(load(path), demo_data, tmp_path), training=True)
    before = {n: p.detach().clone() for n, p in runner.model.named_parameters() if p.requires_grad}
    runner.train()
    assert runner.iter == 2
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 2
    assert all(math.isfinite(row['loss']) for row in rows)
    # The learning rate is small in the first steps of a warm-up, but weights move.
    assert any(not p.equal(before[n]) for n, p in runner.model.named_parameters() if n in before)


@pytest.mark.parametrize('path', ABLATIONS, ids=lambda path: path.stem)
def test_ablation_changes_its_base_in_about_ten_lines(path):
    base, ablation = load(BASE).to_dict(), load(path).to_dict()
    assert ablation != base
    code = re.sub(r'""".*?"""|#[^\n]*', '', path.read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    # The rest of the recipe is the base's.
    for key in ('train_cfg', 'param_scheduler', 'optim_wrapper', 'val_evaluator'):
        assert ablation[key] == base[key], key


def test_table_of_ablations_names_each_config_once():
    table = (FOLDER / 'README.md').read_text(encoding='utf-8')
    for path in ABLATIONS:
        assert table.count(f'({path.name})') == 1, path.name
    named = re.findall(r'\(([\w-]+\.py)\)', table)
    assert sorted(named) == sorted(path.name for path in ABLATIONS)
