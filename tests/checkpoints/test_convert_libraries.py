# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files of timm and transformers, written by these libraries with random weights, have the same features here."""

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from vicmae.apis import convert_checkpoint, load_config, load_model
from vicmae.checkpoints.convert.formats import detect_format
from vicmae.checkpoints.read import read_weights
from vicmae.errors import CheckpointError
from vicmae.testing import randomize

WIDTH = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=1)
SIZE = dict(image_size=32, patch_size=8)
DECODER = dict(
    decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=16,
    decoder_intermediate_size=128,
)  # fmt: skip


def vit(**options):
    config = transformers.ViTConfig(
        **WIDTH, **SIZE, intermediate_size=256, layer_norm_eps=1e-6, **options
    )
    return transformers.ViTModel(config), lambda model, x: model(x).last_hidden_state


def vit_classifier():
    config = transformers.ViTConfig(**WIDTH, **SIZE, intermediate_size=256, layer_norm_eps=1e-6)
    return (
        transformers.ViTForImageClassification(config),
        lambda model, x: model.vit(x).last_hidden_state,
    )


def vit_mae():
    sizes = dict(**WIDTH, **SIZE, **DECODER, intermediate_size=256, layer_norm_eps=1e-6)
    config = transformers.ViTMAEConfig(**sizes, mask_ratio=0.0)

    def encode(model, images):
        outputs = model.vit(images)
        tokens = outputs.last_hidden_state  # of patches in random order
        order = outputs.ids_restore[..., None].expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, order)], dim=1)

    return transformers.ViTMAEForPreTraining(config), encode


def dinov2():
    config = transformers.Dinov2Config(**WIDTH, image_size=28, patch_size=14, mlp_ratio=4)
    return transformers.Dinov2Model(config), lambda model, x: model(x).last_hidden_state


def video_mae():
    sizes = dict(**WIDTH, image_size=224, patch_size=56, intermediate_size=256, layer_norm_eps=1e-6)
    config = transformers.VideoMAEConfig(**sizes, num_frames=16, use_mean_pooling=False)
    return (
        transformers.VideoMAEModel(config),
        lambda model, clips: model(clips.transpose(1, 2)).last_hidden_state,
    )


def timm_vit(**options):
    sizes = dict(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=0)
    model = timm.models.vision_transformer.VisionTransformer(**sizes, **options)
    return model, lambda model, x: model.forward_features(x)


MODELS = {
    'hf: ViT': vit,
    'hf: ViT classifier': vit_classifier,
    'hf: ViT-MAE': vit_mae,
    'hf: DINOv2': dinov2,
    'hf: VideoMAE': video_mae,
    'timm: ViT': timm_vit,
    'timm: without class token': lambda: timm_vit(
        class_token=False, global_pool='avg', fc_norm=False
    ),
    'timm: DINOv2': lambda: timm_vit(init_values=1.0),
}


def write_public(name, folder):
    """Writes the file as the library does. Returns its path, and the function of its tokens."""
    public, encode = MODELS[name]()
    randomize(public).eval()
    path = folder / 'model.safetensors'
    if name.startswith('hf'):
        public.save_pretrained(folder)
    else:
        save_file(public.state_dict(), path)
    return path, torch.no_grad()(lambda inputs: encode(public, inputs))


@pytest.mark.parametrize('name', MODELS)
def test_tokens_equal_those_of_the_library(name, tmp_path):
    path, encode = write_public(name, tmp_path)
    ours = tmp_path / 'ours.pth'
    conversion = convert_checkpoint(
        path, ours, source_format=name.partition(':')[0], target_format='vicmae'
    )
    assert not [key for key in conversion.missing if key.startswith('backbone.')]
    # The model is built from the options that the conversion prints.
    start = 'configs/_base_/models/mae_vit-base-p16.py'
    options = {k: v for k, v in conversion.options.items() if not k.startswith('model.neck')}
    cfg = load_config(start, options)
    backbone = cfg.model.backbone
    backbone.pop('masking', None)
    cfg.model = dict(type='FrozenFeatures', backbone=backbone, aggregator=dict(type='MeanPooling'))
    model = load_model(cfg, ours)
    sides = [int(side) for side in model.backbone.img_size]
    frames = [16] if model.backbone.takes_clips else []
    inputs = torch.randn(2, 3, *frames, *sides)
    with torch.no_grad():
        (tokens,) = model.backbone(inputs)
    torch.testing.assert_close(tokens, encode(inputs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['hf: ViT', 'hf: DINOv2', 'hf: VideoMAE'])
def test_files_of_transformers_are_recognised(name, tmp_path):
    path, _ = write_public(name, tmp_path)
    assert detect_format(read_weights(path)) == 'hf'
    with pytest.raises(CheckpointError, match='looks like a `hf` checkpoint: use --from hf'):
        convert_checkpoint(path, tmp_path / 'x.pth', source_format='mae', target_format='vicmae')


def test_decoder_of_vit_mae_is_converted(tmp_path):
    path, _ = write_public('hf: ViT-MAE', tmp_path)
    ours = tmp_path / 'ours.pth'
    conversion = convert_checkpoint(path, ours, source_format='hf', target_format='vicmae')
    assert not conversion.unused
    assert conversion.options['model.neck.depth'] == 1
    public = read_weights(path)
    torch.testing.assert_close(
        read_weights(ours)['neck.decoder_pred.weight'], public['decoder.decoder_pred.weight']
    )
