# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, MAE, SimCLR, VideoMAE, MAE-ST and OmniMAE once more: slowly, in NumPy and float64, formula by formula.

Weights are a dict of arrays under the names of the official checkpoints (`blocks.0.attn.qkv.weight`).
B batch, C channels, T H W frames and pixels, t time steps, N patches, K kept, M masked, L tokens, D width, P values per
patch, E embedding. Images are (B, C, H, W), clips (B, C, T, H, W).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Method:
    """What weights don't tell; defaults are the official code's."""

    num_heads: int
    decoder_num_heads: int = 1
    mask_ratio: float = 0.5
    norm_pix: bool | str = True  # 'channel': each channel of a patch by itself
    sinusoid: bool = False  # positions are one sinusoid over time, rows and columns
    temperature: float = 0.1
    reconstruction_weight: float = 0.97
    contrastive_weight: float = 0.03


# Layers


def linear(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return x @ p[f'{name}.weight'].T + p[f'{name}.bias']


def standardize(x: np.ndarray, axis: int, eps: float) -> np.ndarray:
    """Mean 0 and (biased) variance 1 along an axis."""
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)


def layer_norm(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return standardize(x, -1, 1e-6) * p[f'{name}.weight'] + p[f'{name}.bias']


def batch_norm(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    """In training: statistics are those of the rows that are given."""
    return standardize(x, 0, 1e-5) * p[f'{name}.weight'] + p[f'{name}.bias']


def gelu(x: np.ndarray) -> np.ndarray:
    # The one function that NumPy lacks; `math.erf`, number by number, would take most of the time.
    return x * (1 + torch.erf(torch.from_numpy(x / math.sqrt(2))).numpy()) / 2


def attention(p: Arrays, name: str, x: np.ndarray, num_heads: int) -> np.ndarray:
    """One head after another: (B, L, D) -> (B, L, D)."""
    q, k, v = np.split(linear(p, f'{name}.qkv', x), 3, axis=-1)
    width = x.shape[-1] // num_heads
    heads = []
    for h in range(num_heads):
        own = slice(h * width, (h + 1) * width)
        scores = q[..., own] @ k[..., own].swapaxes(1, 2) / math.sqrt(width)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., own])
    return linear(p, f'{name}.proj', np.concatenate(heads, axis=-1))


def transformer(p: Arrays, name: str, x: np.ndarray, num_heads: int) -> np.ndarray:
    """As many pre-norm layers as there are weights for."""
    i = 0
    while f'{name}.{i}.norm1.weight' in p:
        layer = f'{name}.{i}'
        x = x + attention(p, f'{layer}.attn', layer_norm(p, f'{layer}.norm1', x), num_heads)
        hidden = gelu(linear(p, f'{layer}.mlp.fc1', layer_norm(p, f'{layer}.norm2', x)))
        x = x + linear(p, f'{layer}.mlp.fc2', hidden)
        i += 1
    return x


# Patches and masks


def cut(pixels: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Patches by time, row and column: (B, C, [T,] H, W) -> (B, N, C, frames, height, width)."""
    if pixels.ndim == 4:
        pixels = pixels[:, :, None]
    frames, height, width = (1, *patch)[-3:]
    patches = [
        pixels[:, :, f : f + frames, y : y + height, x : x + width]
        for f in range(0, pixels.shape[2], frames)
        for y in range(0, pixels.shape[3], height)
        for x in range(0, pixels.shape[4], width)
    ]
    return np.stack(patches, axis=1)


def patchify(pixels: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Values of a patch as frame, row, column, channel: (B, C, [T,] H, W) -> (B, N, P)."""
    patches = cut(pixels, patch).transpose(0, 1, 3, 4, 5, 2)
    return patches.reshape(*patches.shape[:2], -1)


def still_clip(images: np.ndarray, num_frames: int) -> np.ndarray:
    """One frame, repeated: (B, C, H, W) -> (B, C, T, H, W)."""
    return np.stack([images] * num_frames, axis=2)


def patch_size(p: Arrays) -> tuple[int, ...]:
    return p['patch_embed.proj.weight'].shape[2:]  # of a convolution


def keep_lowest(noise: np.ndarray, mask_ratio: float) -> np.ndarray:
    """Patches of lowest noise, lowest first: (B, N) -> (B, K)."""
    return np.argsort(noise, axis=1)[:, : int(noise.shape[1] * (1 - mask_ratio))]


def keep_tubes(noise: np.ndarray, mask_ratio: float, num_times: int) -> np.ndarray:
    """The same positions in each time step, noise (B, h*w) -> (B, K)."""
    num_places = noise.shape[1]
    order = np.argsort(noise, axis=1)[:, : num_places - int(mask_ratio * num_places)]
    return np.concatenate([order + time * num_places for time in range(num_times)], axis=1)


# Positions


def sinusoid(num_positions: int, width: int) -> np.ndarray:
    """Sines in even channels, cosines in odd ones, of falling frequency: (1, N, D)."""
    table = np.empty((1, num_positions, width))
    for position in range(num_positions):
        for channel in range(width):
            angle = position / 10000 ** (2 * (channel // 2) / width)
            table[0, position, channel] = math.cos(angle) if channel % 2 else math.sin(angle)
    return table


def positions(p: Arrays, prefix: str, width: int, num_patches: int, method: Method) -> np.ndarray:
    """Of the patches, without those of the class token: (1, N, D)."""
    if method.sinusoid:
        return sinusoid(num_patches, width)
    in_space = p[f'{prefix}pos_embed'][:, num_prefix(p) :]
    along_time = p.get(f'{prefix}temporal_pos_embed', np.zeros((1, 1, width)))
    return np.concatenate([in_space + step for step in along_time[0]], axis=1)


def num_prefix(p: Arrays) -> int:
    return int('cls_token' in p)


# Encoder, decoder, projector


def encode(
    p: Arrays, pixels: np.ndarray, method: Method, ids_keep: np.ndarray | None = None
) -> np.ndarray:
    """Class token, if there is one, and tokens of the kept patches, or of all: (B, C, [T,] H, W) -> (B, [1+] K, D)."""
    patches = cut(pixels, patch_size(p))
    num_samples, num_patches = patches.shape[:2]
    weight = p['patch_embed.proj.weight']
    width = len(weight)
    tokens = patches.reshape(num_samples, num_patches, -1) @ weight.reshape(width, -1).T
    tokens = tokens + p['patch_embed.proj.bias'] + positions(p, '', width, num_patches, method)
    if ids_keep is not None:
        tokens = np.stack([t[ids] for t, ids in zip(tokens, ids_keep, strict=True)])
    if num_prefix(p):
        cls_token = np.repeat(p['cls_token'] + p['pos_embed'][:, :1], num_samples, axis=0)
        tokens = np.concatenate([cls_token, tokens], axis=1)
    return layer_norm(p, 'norm', transformer(p, 'blocks', tokens, method.num_heads))


def decode(
    p: Arrays, tokens: np.ndarray, ids_keep: np.ndarray, num_patches: int, method: Method
) -> np.ndarray:
    """Predicts every patch, in the order of the grid: (B, [1+] K, D) -> (B, N, P)."""
    embedded = linear(p, 'decoder_embed', tokens)
    num_samples, _, width = embedded.shape
    first = num_prefix(p)
    x = np.empty((num_samples, first + num_patches, width))
    x[:] = p['mask_token']
    x[:, :first] = p.get('decoder_cls_token', embedded[:, :first])  # its own, or the encoder's
    for sample, (visible, ids) in enumerate(zip(embedded[:, first:], ids_keep, strict=True)):
        x[sample, first + ids] = visible
    x[:, first:] += positions(p, 'decoder_', width, num_patches, method)
    if first:
        x[:, :1] += p['decoder_pos_embed'][:, :1]
    x = transformer(p, 'decoder_blocks', x, method.decoder_num_heads)
    return linear(p, 'decoder_pred', layer_norm(p, 'decoder_norm', x))[:, first:]


def pool(tokens: np.ndarray) -> np.ndarray:
    """Mean over the patch tokens, without the class token."""
    return tokens[:, 1:].mean(axis=1)


def project(p: Arrays, pooled: np.ndarray) -> np.ndarray:
    """Linear, norm, ReLU, twice, and a last Linear: (B, D) -> (B, E)."""
    x = np.maximum(batch_norm(p, 'projector.1', linear(p, 'projector.0', pooled)), 0)
    x = np.maximum(batch_norm(p, 'projector.4', linear(p, 'projector.3', x)), 0)
    return linear(p, 'projector.6', x)


# Losses


def pixel_targets(pixels: np.ndarray, patch: tuple[int, ...], norm_pix: bool | str) -> np.ndarray:
    """What is predicted: (B, C, [T,] H, W) -> (B, N, P)."""
    patches = patchify(pixels, patch)
    if norm_pix == 'channel':
        channels = patches.reshape(*patches.shape[:2], -1, pixels.shape[1])
        deviation = channels.std(2, ddof=1, keepdims=True)
        channels = (channels - channels.mean(2, keepdims=True)) / (deviation + 1e-6)
        return channels.reshape(patches.shape)
    if not norm_pix:
        return patches
    variance = patches.var(-1, ddof=1, keepdims=True)
    return (patches - patches.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)


def masked_mean(errors: np.ndarray, ids_keep: np.ndarray) -> float:
    """Mean over the masked patches of all samples: (B, N) -> ()."""
    masked = np.ones_like(errors)
    np.put_along_axis(masked, ids_keep, 0, axis=1)
    return (errors * masked).sum() / masked.sum()


def reconstruction_loss(
    p: Arrays, targets: np.ndarray, tokens: np.ndarray, ids_keep: np.ndarray, method: Method
) -> float:
    """Mean squared error of each patch, its mean over the masked patches."""
    predicted = decode(p, tokens, ids_keep, targets.shape[1], method)
    return masked_mean(((predicted - targets) ** 2).mean(axis=-1), ids_keep)


def nt_xent(embeddings: np.ndarray, temperature: float) -> float:
    """Each of 2B has to find its partner among all others: view 1 of the batch, then view 2."""
    num_rows = len(embeddings)
    z = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    terms = []
    for i in range(num_rows):
        logits = z @ z[i] / temperature
        others = np.delete(logits, i)
        partner = logits[(i + num_rows // 2) % num_rows]
        highest = others.max()
        terms.append(highest + np.log(np.exp(others - highest).sum()) - partner)
    return np.mean(terms)


# Methods


def autoencoder_loss(p: Arrays, pixels: np.ndarray, ids_keep: np.ndarray, method: Method) -> float:
    """Encodes the kept patches and predicts the pixels of the others."""
    tokens = encode(p, pixels, method, ids_keep)
    targets = pixel_targets(pixels, patch_size(p), method.norm_pix)
    return reconstruction_loss(p, targets, tokens, ids_keep, method)


def mae_loss(p: Arrays, images: np.ndarray, noise: np.ndarray, method: Method) -> float:
    """MAE (https://arxiv.org/abs/2111.06377) on one view."""
    return autoencoder_loss(p, images, keep_lowest(noise, method.mask_ratio), method)


def video_mae_loss(p: Arrays, clips: np.ndarray, noise: np.ndarray, method: Method) -> float:
    """VideoMAE (https://arxiv.org/abs/2203.12602); the noise is of the positions in space, (B, h*w)."""
    num_times = clips.shape[2] // patch_size(p)[0]
    return autoencoder_loss(p, clips, keep_tubes(noise, method.mask_ratio, num_times), method)


def mae_st_loss(p: Arrays, clips: np.ndarray, noise: np.ndarray, method: Method) -> float:
    """MAE-ST (https://arxiv.org/abs/2205.09113): half of the frames are predicted, one of each tubelet."""
    ids_keep = keep_lowest(noise, method.mask_ratio)
    tokens = encode(p, clips, method, ids_keep)
    _, height, width = patch_size(p)
    targets = pixel_targets(predicted_frames(clips), (1, height, width), method.norm_pix)
    return reconstruction_loss(p, targets, tokens, ids_keep, method)


def predicted_frames(clips: np.ndarray) -> np.ndarray:
    """Half of the frames, spread from the first to the last: (B, C, T, H, W) -> (B, C, T/2, H, W)."""
    num_frames = clips.shape[2]
    return clips[:, :, np.linspace(0, num_frames - 1, num_frames // 2).astype(int)]


def omni_mae_loss(p: Arrays, pixels: np.ndarray, noise: np.ndarray, method: Method) -> float:
    """OmniMAE (https://arxiv.org/abs/2206.08356): an image is the first time step of a clip that stands still."""
    clips = still_clip(pixels, patch_size(p)[0]) if pixels.ndim == 4 else pixels
    return autoencoder_loss(p, clips, keep_lowest(noise, method.mask_ratio), method)


def simclr_loss(p: Arrays, views: list[np.ndarray], method: Method) -> float:
    """SimCLR (https://arxiv.org/abs/2002.05709) on a ViT that sees all patches and pools their mean."""
    projected = [project(p, pool(encode(p, view, method))) for view in views]
    return nt_xent(np.concatenate(projected), method.temperature)


def vicmae_losses(
    p: Arrays, views: list[np.ndarray], noise: np.ndarray, method: Method
) -> tuple[float, float]:
    """Reconstruction and contrast, unweighted; of the noise (2B, N) the first half is view 1's."""
    errors, projected = [], []
    for view, own_noise in zip(views, np.split(noise, 2), strict=True):
        ids_keep = keep_lowest(own_noise, method.mask_ratio)
        tokens = encode(p, view, method, ids_keep)
        targets = pixel_targets(view, patch_size(p), method.norm_pix)
        errors.append(reconstruction_loss(p, targets, tokens, ids_keep, method))
        projected.append(project(p, pool(tokens)))  # each view by itself: batch norm sees one
    contrast = nt_xent(np.concatenate(projected), method.temperature)
    return 0.5 * (errors[0] + errors[1]), contrast


def vicmae_loss(p: Arrays, views: list[np.ndarray], noise: np.ndarray, method: Method) -> float:
    reconstruction, contrast = vicmae_losses(p, views, noise, method)
    return method.reconstruction_weight * reconstruction + method.contrastive_weight * contrast
