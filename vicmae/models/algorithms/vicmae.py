# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE.

V views, B batch, C channels, T H W frames and pixels, K kept and M masked patches, D width, P values per patch,
E embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..heads.mlp import MLPHead, apply_per_view
from ..layers import gather_tokens, patchify

Part = dict[str, Any] | nn.Module


@MODELS.register_module()
class ViCMAE(BaseModel):
    """Visual representations from images and videos by contrastive masked autoencoding.

    `ViC-MAE <https://arxiv.org/abs/2303.12001>`_: two distant frames of a video, or two views of an image,
    are masked and encoded by one ViT. A decoder reconstructs the masked patches of each; a predictor has to
    find each view's partner among the batch from the pooled tokens that were visible.

    Parts are configs or built modules. Widths that one part prescribes to another are filled in here.

    Args:
        backbone: Encodes the patches that its `masking` keeps.
        neck: Predicts the masked patches from the encoded ones.
        aggregator: Pools patch tokens to one vector.
        head: Computes the losses.
        target: Makes what predictions are compared with.
        projector: Maps pooled tokens to embeddings, for predictions and (without a head of its own) the target.
        predictor: Maps these further, for predictions only. The paper's P, with no projector.
        data_preprocessor: Brings pixels to the device and normalises them.
        init_cfg: MMEngine's initialisation, such as `dict(type='Pretrained', checkpoint=...)`.

    Example:
        >>> from vicmae.apis import load_config
        >>> cfg = load_config('configs/vicmae/vicmae_vit-tiny-p8_debug.py')
        >>> model = MODELS.build(cfg.model)
        >>> losses = model.loss([torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)])
    """

    def __init__(
        self,
        *,
        backbone: Part,
        neck: Part,
        aggregator: Part,
        head: Part,
        target: Part,
        projector: Part | None = None,
        predictor: Part | None = None,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Built here: MMEngine's registry would find ours only where a default scope is set.
        if data_preprocessor is not None:
            data_preprocessor = build_part(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = build_part(backbone, nested=('masking',))
        width = self.backbone.embed_dims
        patch_size = self.backbone.patch_size
        self.neck = build_part(
            neck,
            in_dim=width,
            grid=self.backbone.grid,
            num_prefix_tokens=self.backbone.num_extra_tokens,
            patch_values=self.backbone.in_channels * patch_size[0] * patch_size[1] * patch_size[2],
        )
        self.aggregator = build_part(aggregator)
        self.projector = nn.Identity() if projector is None else build_part(projector, in_dim=width)
        embedding_dim = width if projector is None else output_width(self.projector)
        self.predictor = (
            nn.Identity() if predictor is None else build_part(predictor, in_dim=embedding_dim)
        )
        self.target = build_part(target, nested=('head',), nested_defaults=dict(in_dim=width))
        self.head = build_part(head, nested=('reconstruction', 'contrastive'))

    def init_weights(self) -> None:
        """Draws all weights anew, or loads those that `init_cfg` names."""
        for (
            module
        ) in self.modules():  # MMEngine reaches direct children alone, not the target's head
            if isinstance(module, MLPHead):
                module.init_weights()
        super().init_weights()

    def loss(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample] | None = None
    ) -> dict[str, Tensor]:
        """Computes the losses of a batch of view pairs.

        Args:
            inputs: One normalised batch (B, C, H, W) per view.
            data_samples: Not used: no labels are needed.
        """
        num_views = len(inputs)
        views = torch.cat(list(inputs))  # (V*B, C, H, W), view 1's samples first
        tokens, mask = self.backbone(views, mask=True)  # (V*B, 1+K, D)
        predicted = self.neck(tokens, mask)  # (V*B, M, P)
        patches = gather_tokens(patchify(views, self.backbone.patch_size), mask.ids_masked)

        pooled = self.pool(tokens).unflatten(0, (num_views, -1))  # (V, B, D)
        projected = apply_per_view(self.projector, pooled)  # (V, B, E)
        predictions = apply_per_view(self.predictor, projected)
        targets = self.target(pooled, projected)
        return self.head.loss(predicted, patches, predictions, targets)

    def extract_feat(self, frames: Tensor) -> Tensor:
        """Encodes whole frames, without masking, to one vector each.

        Shape:
            (B, C, H, W) -> (B, D)
        """
        (tokens,) = self.backbone(frames)
        return self.pool(tokens)

    def extract_clip_feat(self, clips: Sequence[Tensor]) -> Tensor:
        """Encodes clips, each to the mean over its frames; an image is a clip of one frame.

        Shape:
            B clips (T, C, H, W), of any T each -> (B, D)
        """
        features = self.extract_feat(torch.cat(list(clips)))
        return torch.stack([f.mean(dim=0) for f in features.split([len(c) for c in clips])])

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `feature` into each data sample, for metrics that compare features."""
        for sample, feature in zip(data_samples, self.extract_clip_feat(inputs), strict=True):
            sample.set_field(feature, 'feature')
        return data_samples

    def pool(self, tokens: Tensor) -> Tensor:
        """Pools tokens to one vector.

        Shape:
            (B, 1 + K, D) -> (B, D)
        """
        num_prefix = self.backbone.num_extra_tokens
        return self.aggregator(tokens[:, num_prefix:], tokens[:, :num_prefix])

    def reconstruct(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks frames and predicts what is hidden.

        Shape:
            (B, C, H, W) -> predicted patches (B, M, P), all true patches (B, N, P), positions predicted (B, M)
        """
        tokens, mask = self.backbone(frames, mask=True)
        return self.neck(tokens, mask), patchify(frames, self.backbone.patch_size), mask.ids_masked

    def forward(
        self,
        inputs: Any,
        data_samples: Sequence[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """MMEngine's entry: `mode` 'loss' in training, 'predict' in evaluation, 'tensor' for features."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        if mode == 'tensor':
            return self.extract_feat(inputs)
        raise ValueError(f"`mode` must be 'loss', 'predict' or 'tensor', got '{mode}'.")

    def _dump_init_info(self, *args: Any) -> None:
        """Keeps MMEngine from writing three lines per parameter into the log."""

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning-rate decay."""
        return self.backbone.get_layer_depth(param_name, 'backbone.')


def build_part(
    part: Part,
    nested: Sequence[str] = (),
    nested_defaults: dict[str, Any] | None = None,
    **defaults: Any,
) -> Any:
    """Builds a part from its config, or takes it as it is where it is built already.

    Args:
        part: Config or module.
        nested: Arguments of the part that are parts themselves.
        nested_defaults: Arguments for those, where their configs don't give them.
        defaults: Arguments for the part, where its config doesn't give them.
    """
    if isinstance(part, nn.Module):
        return part
    part = dict(part)
    for name in nested:
        if isinstance(part.get(name), dict):
            part[name] = MODELS.build(part[name], default_args=nested_defaults)
    return MODELS.build(part, default_args=defaults)


def output_width(module: nn.Module) -> int:
    """Width of what a head of linear layers returns."""
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not widths:
        raise ValueError(
            f"Can't tell the output width of {type(module).__name__}: it has no linear layer. "
            'Give the predictor an `in_dim`.'
        )
    return widths[-1]
