# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The rows of the arena, in the order of its tables. A row is a config below `configs/`, or one of `UNTRAINED`."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFERENCE = 'vicmae'  # the row with which all others are compared
FLOPS = dict(small=8e12, large=1e15)  # of a run, by the size of the model
UNTRAINED = ('floor', 'random')
FINETUNED = ('random', 'mae', 'omnimae', 'simclr', 'vicmae')


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: Name of the config, and of the folder of its results.
        title: How the tables call it.
        group: 'main' of the comparison of methods, 'ablation', or 'motion': variants that may keep motion.
    """

    name: str
    title: str
    group: str = 'main'

    @property
    def config(self) -> Path:
        """Path of the config. Random weights are those of the reference's encoder."""
        name = REFERENCE if self.name in UNTRAINED else self.name
        return HERE / 'configs' / ('' if self.group == 'main' else self.group) / f'{name}.py'

    @property
    def searched(self) -> str | None:
        """Row whose learning rate it has: its own, or the reference's for a variant of that. None for no training."""
        if self.name in UNTRAINED:
            return None
        return self.name if self.group == 'main' else REFERENCE

    @property
    def max_seeds(self) -> int | None:
        """Number of seeds at most."""
        return 1 if self.group == 'ablation' or self.name == 'floor' else None


_ROWS = (
    Row('floor', 'pixels, 1 nearest neighbour'),
    Row('random', 'random weights'),
    Row('supervised', 'supervised from scratch'),
    Row('mae-images', 'MAE, images'),
    Row('mae', 'MAE, both'),
    Row('videomae', 'VideoMAE'),
    Row('maest', 'MAE-ST'),
    Row('omnimae', 'OmniMAE'),
    Row('simclr', 'SimCLR, both'),
    Row('vicmae-images', 'ViC-MAE, images'),
    Row('vicmae-videos', 'ViC-MAE, videos'),
    Row('vicmae', '**ViC-MAE, both**'),
    Row('vicmae-ema', 'ViC-MAE with an EMA target'),
    Row('vicreg', 'ViC-MAE with VICReg'),
    Row('sigreg', 'ViC-MAE with SIGReg'),
    Row('sigreg-95', 'SIGReg, 95 % dropped, no decoder'),
    Row('latent', 'latent prediction'),
    Row('gap-same', 'gap 0: two views of one frame', 'ablation'),
    Row('gap-whole', 'halves of the whole video', 'ablation'),
    Row('mask-50', '50 % masked', 'ablation'),
    Row('mask-90', '90 % masked', 'ablation'),
    Row('weight-0.01', 'contrastive weight 0.01', 'ablation'),
    Row('weight-0.1', 'contrastive weight 0.1', 'ablation'),
    Row('weight-0.3', 'contrastive weight 0.3', 'ablation'),
    Row('batch-32', '32 pairs a step', 'ablation'),
    Row('batch-64', '64 pairs a step', 'ablation'),
    Row('batch-256', '256 pairs a step', 'ablation'),
    Row('gap-short', 'gap 0.2 s', 'motion'),
    Row('clips', 'two clips as the pair', 'motion'),
    Row('clips-change', 'two clips, change between frames as a second target', 'motion'),
    Row('patches', 'contrast of patches', 'motion'),
    Row('weight-falls', 'weight falls to 0 at the end', 'motion'),
    Row('knows-time', 'predictor knows the time between frames', 'motion'),
    Row('half-channels', 'contrast on half of the channels', 'motion'),
    Row('order', 'order and distance of frames as a second target', 'motion'),
)
GROUPS = tuple(dict.fromkeys(row.group for row in _ROWS))
ROWS = {row.name: row for row in _ROWS}
