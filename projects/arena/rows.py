# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The rows of the arena, in the order of its tables. A row is a config of `configs/` or one of `UNTRAINED`."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFERENCE = 'vicmae'  # the row with which all others are compared
UNTRAINED = ('floor', 'random')


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
        return HERE / f'configs/{name}.py'


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
)
ROWS = {row.name: row for row in _ROWS}
