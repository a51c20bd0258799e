# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Hugging Face transformers. The names of tensors are those of the hub, which each version reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vicmae.models.layers import space_table, time_table
from vicmae.models.necks import MAEDecoder

from ..encoder import Encoder
from .base import (
    WEIGHTS,
    Opened,
    Placed,
    Target,
    save_json,
    save_tensors,
    why_not_mean,
    why_not_plain,
)

_LAYER = {
    'attn.proj': 'attention.output.dense',
    'ffn.layers.0.0': 'intermediate.dense',
    'ffn.layers.1': 'output.dense',
    'ln1': 'layernorm_before',
    'ln2': 'layernorm_after',
}
_ATTENTION = 'attention.attention'
_HEADS = ('query', 'key', 'value')
KEY_BIAS = 'adds the same to all scores of a query, which the softmax cancels'


def place_layers(
    weights: Mapping[str, Tensor], ours: str, theirs: str, *, q_and_v_bias: bool = False
) -> dict[str, Placed]:
    """Names the tensors of a stack of layers, whose queries, keys and values are split.

    Args:
        weights: Tensors of the model.
        ours: Name of the stack in vicmae, such as 'backbone.layers'.
        theirs: Its name in transformers, such as 'encoder.layer'.
        q_and_v_bias: Whether biases are named as in VideoMAE, where keys have none.
    """
    placed = {}
    for name, tensor in weights.items():
        if not name.startswith(f'{ours}.'):
            continue
        number, _, rest = name.removeprefix(f'{ours}.').partition('.')
        module, _, kind = rest.rpartition('.')
        stem = f'{theirs}.{number}'
        if module != 'attn.qkv':
            placed[f'{stem}.{_LAYER[module]}.{kind}'] = Placed(tensor, (name,))
            continue
        for head, part in zip(_HEADS, tensor.chunk(3), strict=True):
            place = f'{stem}.{_ATTENTION}.{head}.{kind}'
            if q_and_v_bias and kind == 'bias':
                place = f'{stem}.{_ATTENTION}.{head[0]}_bias'
            if not place.endswith('k_bias'):
                placed[place] = Placed(part, (name,))
    return placed


class _HuggingFace(Target):
    """A folder for `from_pretrained`."""

    packages: ClassVar[tuple[str, ...]] = ('transformers',)
    model_class: ClassVar[str]
    processor: ClassVar[dict[str, Any]]
    # Before the names of the encoder's tensors.
    prefix: ClassVar[str] = ''

    def config(self, encoder: Encoder) -> dict[str, Any]:
        """Returns the content of config.json."""
        backbone = encoder.backbone
        return dict(
            architectures=[self.model_class],
            hidden_size=backbone.embed_dims,
            num_hidden_layers=encoder.depth,
            num_attention_heads=encoder.num_heads,
            intermediate_size=encoder.hidden_width,
            hidden_act='gelu',
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            layer_norm_eps=backbone.ln1.eps,
            image_size=encoder.sides[0],
            patch_size=backbone.patch_size[-1],
            num_channels=backbone.in_channels,
            qkv_bias=True,
            torch_dtype='float32',
        )

    def write(self, encoder: Encoder, tensors: Mapping[str, Tensor], out: Path) -> None:
        save_tensors(tensors, out / WEIGHTS)
        save_json(self.config(encoder), out / 'config.json')
        height, width = encoder.sides
        normalizing = dict(
            do_normalize=True,
            do_rescale=True,
            do_resize=True,
            image_mean=encoder.mean,
            image_std=encoder.std,
            rescale_factor=1 / 255,
            resample=3,  # bicubic
        )
        size = dict(size=dict(height=height, width=width))
        save_json({**normalizing, **size, **self.processor}, out / 'preprocessor_config.json')

    def why_not(self, encoder: Encoder) -> str:
        height, width = encoder.sides
        if height != width:
            return f'its input has {height} x {width} pixels, and transformers takes squares only'
        return ''

    def _embeddings(self, encoder: Encoder) -> dict[str, Placed]:
        """Names the tensors around the layers of an encoder of images."""
        names = {
            'embeddings.cls_token': 'cls_token',
            'embeddings.position_embeddings': 'pos_embed',
            'embeddings.patch_embeddings.projection.weight': 'patch_embed.projection.weight',
            'embeddings.patch_embeddings.projection.bias': 'patch_embed.projection.bias',
            'layernorm.weight': 'ln1.weight',
            'layernorm.bias': 'ln1.bias',
        }
        return {
            f'{self.prefix}{theirs}': Placed(
                encoder.weights[f'backbone.{ours}'], (f'backbone.{ours}',)
            )
            for theirs, ours in names.items()
        }

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        layers = place_layers(encoder.weights, 'backbone.layers', f'{self.prefix}encoder.layer')
        return {**self._embeddings(encoder), **layers}


def _why_no_vit(encoder: Encoder) -> str:
    if why := why_not_plain(encoder):
        return why
    if encoder.backbone.cls_token is None:
        return 'it has no class token, which this model of transformers always has'
    return why_not_mean(encoder)


class HuggingFaceViT(_HuggingFace):
    """A folder for `ViTModel.from_pretrained`."""

    name: ClassVar[str] = 'hf-vit'
    model_class: ClassVar[str] = 'ViTModel'
    processor: ClassVar[dict[str, Any]] = dict(image_processor_type='ViTImageProcessor')
    usage: ClassVar[str] = """\
import torch
from transformers import ViTModel

model = ViTModel.from_pretrained('{out}', add_pooling_layer=False).eval()
images = torch.zeros(1, {channels}, {height}, {width})  # normalised, see preprocessor_config.json
tokens = model(images).last_hidden_state
features = tokens[:, 1:].mean(dim=1)  # (1, {dims}), without the class token
"""

    def why_not(self, encoder: Encoder) -> str:
        return super().why_not(encoder) or _why_no_vit(encoder)

    def config(self, encoder: Encoder) -> dict[str, Any]:
        return dict(model_type='vit', **super().config(encoder))

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        from transformers import ViTModel

        model = ViTModel.from_pretrained(out, add_pooling_layer=False).eval()

        @torch.no_grad()
        def encode(images: Tensor) -> Tensor:
            return model(images).last_hidden_state[:, 1:].mean(dim=1)

        return Opened(encode, dict(model.state_dict()))


class HuggingFaceViTMAE(_HuggingFace):
    """A folder for `ViTMAEForPreTraining.from_pretrained`: the encoder with its decoder."""

    name: ClassVar[str] = 'hf-vitmae'
    model_class: ClassVar[str] = 'ViTMAEForPreTraining'
    processor: ClassVar[dict[str, Any]] = dict(image_processor_type='ViTImageProcessor')
    prefix: ClassVar[str] = 'vit.'
    usage: ClassVar[str] = """\
import torch
from transformers import ViTMAEModel

model = ViTMAEModel.from_pretrained('{out}', mask_ratio=0.0).eval()
images = torch.zeros(1, {channels}, {height}, {width})  # normalised, see preprocessor_config.json
tokens = model(images).last_hidden_state  # of all patches, in random order
features = tokens[:, 1:].mean(dim=1)  # (1, {dims}), without the class token
"""

    def why_not(self, encoder: Encoder) -> str:
        neck = getattr(encoder.model, 'neck', None)
        if neck is None:
            return 'it has no decoder: use hf-vit'
        if type(neck) is not MAEDecoder:
            return f'its decoder is a {type(neck).__name__}, not a MAEDecoder'
        return super().why_not(encoder) or _why_no_vit(encoder)

    def config(self, encoder: Encoder) -> dict[str, Any]:
        neck = encoder.model.neck
        masking, loss = encoder.backbone.masking, encoder.model.pixel_loss
        return dict(
            model_type='vit_mae',
            **super().config(encoder),
            decoder_hidden_size=neck.decoder_embed.out_features,
            decoder_num_hidden_layers=len(neck.decoder_blocks),
            decoder_num_attention_heads=neck.decoder_blocks[0].attn.num_heads,
            decoder_intermediate_size=neck.decoder_blocks[0].ffn.layers[0][0].out_features,
            mask_ratio=getattr(masking, 'mask_ratio', 0.75),
            norm_pix_loss=bool(getattr(loss, 'norm_pix', True)),
        )

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        weights = encoder.weights
        names = [name for name in weights if name.startswith('neck.')]
        around = {
            f'decoder.{name.removeprefix("neck.")}': Placed(weights[name], (name,))
            for name in names
            if not name.startswith('neck.decoder_blocks.')
        }
        layers = place_layers(weights, 'neck.decoder_blocks', 'decoder.decoder_layers')
        return {**super().tensors(encoder), **around, **layers}

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        from transformers import ViTMAEForPreTraining

        model = ViTMAEForPreTraining.from_pretrained(out, mask_ratio=0.0).eval()

        @torch.no_grad()
        def encode(images: Tensor) -> Tensor:
            return model.vit(images).last_hidden_state[:, 1:].mean(dim=1)

        return Opened(encode, dict(model.state_dict()))


class HuggingFaceVideoMAE(_HuggingFace):
    """A folder for `VideoMAEModel.from_pretrained`."""

    name: ClassVar[str] = 'hf-videomae'
    model_class: ClassVar[str] = 'VideoMAEModel'
    processor: ClassVar[dict[str, Any]] = dict(
        image_processor_type='VideoMAEImageProcessor', do_center_crop=False
    )
    usage: ClassVar[str] = """\
import torch
from transformers import VideoMAEModel

model = VideoMAEModel.from_pretrained('{out}').eval()
clips = torch.zeros(1, {frames}, {channels}, {height}, {width})  # normalised, see preprocessor_config.json
features = model(clips).last_hidden_state.mean(dim=1)  # (1, {dims})
"""

    def why_not(self, encoder: Encoder) -> str:
        backbone = encoder.backbone
        if why := super().why_not(encoder) or why_not_plain(encoder, clips=True):
            return why
        if backbone.cls_token is not None:
            return 'it has a class token, which VideoMAE does not have'
        if why := why_not_mean(encoder):
            return why
        if not _has_fixed_sinusoid(backbone):
            kind = 'learned' if backbone.learn_pos_embed else f'`{backbone.pos_embed_type}`'
            return f'its position embeddings are {kind}, and VideoMAE computes a sinusoid'
        return ''

    def config(self, encoder: Encoder) -> dict[str, Any]:
        return dict(
            model_type='videomae',
            **super().config(encoder),
            num_frames=encoder.backbone.num_frames,
            tubelet_size=encoder.backbone.patch_size[0],
            use_mean_pooling=False,  # tokens are normalised, then pooled
        )

    def tensors(self, encoder: Encoder) -> dict[str, Placed]:
        layers = place_layers(
            encoder.weights, 'backbone.layers', 'encoder.layer', q_and_v_bias=True
        )
        return {**self._embeddings(encoder), **layers}

    def _embeddings(self, encoder: Encoder) -> dict[str, Placed]:
        names = {
            'embeddings.patch_embeddings.projection': 'backbone.patch_embed.projection',
            'layernorm': 'backbone.ln1',
        }
        return {
            f'{theirs}.{kind}': Placed(encoder.weights[f'{ours}.{kind}'], (f'{ours}.{kind}',))
            for theirs, ours in names.items()
            for kind in ('weight', 'bias')
        }

    def omitted(self, encoder: Encoder) -> dict[str, str]:
        fixed = 'a sinusoid, which VideoMAE computes'
        biases = {f'backbone.layers.{i}.attn.qkv.bias[key]': KEY_BIAS for i in range(encoder.depth)}
        return {
            'backbone.pos_embed': fixed,
            'backbone.sinusoid_pos_embed': fixed,
            **biases,
        }

    def open(self, out: Path, manifest: Mapping[str, Any]) -> Opened:
        from transformers import VideoMAEModel

        model = VideoMAEModel.from_pretrained(out).eval()

        @torch.no_grad()
        def encode(clips: Tensor) -> Tensor:
            return model(clips.transpose(1, 2)).last_hidden_state.mean(dim=1)

        return Opened(encode, dict(model.state_dict()))


def _has_fixed_sinusoid(backbone: Any) -> bool:
    if backbone.pos_embed_type != 'sinusoid':
        return False
    kind, grid, width = backbone.pos_embed_type, backbone.grid, backbone.embed_dims
    first = space_table(kind, grid, width, num_prefix_tokens=0)
    later = time_table(kind, grid, width)
    return torch.allclose(backbone.pos_embed.cpu(), first) and torch.allclose(
        backbone.sinusoid_pos_embed.cpu(), later
    )
