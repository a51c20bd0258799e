# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The other side of the comparison: the pipelines that training code usually has."""

import warnings
from pathlib import Path
from typing import Any

import decord
import mmengine
import numpy as np
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CustomDataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

# mmcv says it for each call of mmpretrain's own setting.
warnings.filterwarnings('ignore', "Only use 'alpha' for pillow backend")

WINDOW = 64  # frames that a pair comes from: one of each half
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The view of mmpretrain's MoCo v3 and BYOL configs (configs/_base_/datasets/imagenet_bs512_mocov3.py), first of two.
MMPRETRAIN_VIEWS = [
    [
        dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'),
        dict(
            type='RandomApply',
            transforms=[
                dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
            ],
            prob=0.8,
        ),
        dict(
            type='RandomGrayscale',
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=blur),
        dict(type='Solarize', thr=128, prob=solarize),
        dict(type='RandomFlip', prob=0.5),
    ]
    for blur, solarize in ((1.0, 0.0), (0.1, 0.2))
]


class FramePairs(Dataset):
    """Two distant frames of a video, decoded by decord, augmented by torchvision on PIL images, as floats.

    Args:
        folder: Has the videos.
        scale: Of the crop.
    """

    def __init__(self, folder: Path, scale: tuple[float, float] = (0.2, 1.0)) -> None:
        self.files = sorted(map(str, folder.rglob('*.mp4')))
        self.augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(224, scale=scale, interpolation=Image.BICUBIC),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.RandomApply([transforms.GaussianBlur(23, sigma=(0.1, 2.0))], p=0.5),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video = decord.VideoReader(self.files[index], num_threads=1)
        window = min(WINDOW, len(video))
        start = np.random.randint(len(video) - window + 1)
        ids = start + (np.arange(2) + np.random.rand(2)) / 2 * window
        frames = video.get_batch(ids.astype(int)).asnumpy()
        return dict(inputs=[self.augment(Image.fromarray(frame)) for frame in frames])


def mmpretrain_views(folder: Path) -> Dataset:
    """Two views of an image by mmpretrain's own pipeline."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return CustomDataset(
            data_root=str(folder),
            with_label=False,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='MultiView', num_views=[1, 1], transforms=MMPRETRAIN_VIEWS),
                dict(type='PackInputs'),
            ],
        )


def naive_loader(
    dataset: Dataset, *, batch_size: int, num_workers: int, samples: int
) -> DataLoader:
    """The usual loader: samples at random, collated as they are."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        sampler=RandomSampler(dataset, replacement=True, num_samples=samples),
        collate_fn=mmengine.dataset.default_collate,
        drop_last=True,
    )
