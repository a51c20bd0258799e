# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, MAE and SimCLR on a ViT once more: slowly, in NumPy and float64, formula by formula.

Weights are a dict of arrays under the names of the official checkpoints (`blocks.0.attn.qkv.weight`).
B batch, C channels, H W pixels, N patches, K kept, M masked, L tokens, D width, P values per patch, E embedding.
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
    norm_pix: bool = True
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


def cut(images: np.ndarray, size: int) -> np.ndarray:
    """Patches row by row: (B, C, H, W) -> (B, N, C, size, size)."""
    height, width = images.shape[-2:]
    patches = [
        images[:, :, y : y + size, x : x + size]
        for y in range(0, height, size)
        for x in range(0, width, size)
    ]
    return np.stack(patches, axis=1)


def patchify(images: np.ndarray, size: int) -> np.ndarray:
    """Values of a patch as row, column, channel: (B, C, H, W) -> (B, N, P)."""
    patches = cut(images, size).transpose(0, 1, 3, 4, 2)
    return patches.reshape(*patches.shape[:2], -1)


def patch_size(p: Arrays) -> int:
    return p['patch_embed.proj.weight'].shape[-1]


def keep_lowest(noise: np.ndarray, mask_ratio: float) -> np.ndarray:
    """Patches of lowest noise, lowest first: (B, N) -> (B, K)."""
    return np.argsort(noise, axis=1)[:, : int(noise.shape[1] * (1 - mask_ratio))]


# Encoder, decoder, projector


def encode(
    p: Arrays, images: np.ndarray, num_heads: int, ids_keep: np.ndarray | None = None
) -> np.ndarray:
    """Class token and patch tokens of the kept patches, or of all: (B, C, H, W) -> (B, 1 + K, D)."""
    weight = p['patch_embed.proj.weight']  # of a convolution
    tokens = np.einsum('bncyx,dcyx->bnd', cut(images, patch_size(p)), weight)
    tokens = tokens + p['patch_embed.proj.bias'] + p['pos_embed'][:, 1:]
    if ids_keep is not None:
        tokens = np.stack([t[ids] for t, ids in zip(tokens, ids_keep, strict=True)])
    cls_token = np.repeat(p['cls_token'] + p['pos_embed'][:, :1], len(images), axis=0)
    x = np.concatenate([cls_token, tokens], axis=1)
    return layer_norm(p, 'norm', transformer(p, 'blocks', x, num_heads))


def decode(p: Arrays, tokens: np.ndarray, ids_keep: np.ndarray, num_heads: int) -> np.ndarray:
    """Predicts every patch, in the order of the grid: (B, 1 + K, D) -> (B, N, P)."""
    embedded = linear(p, 'decoder_embed', tokens)
    num_samples, _, width = embedded.shape
    x = np.empty((num_samples, p['decoder_pos_embed'].shape[1], width))
    x[:] = p['mask_token']
    x[:, 0] = embedded[:, 0]
    for sample, (visible, ids) in enumerate(zip(embedded[:, 1:], ids_keep, strict=True)):
        x[sample, 1 + ids] = visible
    x = transformer(p, 'decoder_blocks', x + p['decoder_pos_embed'], num_heads)
    return linear(p, 'decoder_pred', layer_norm(p, 'decoder_norm', x))[:, 1:]


def pool(tokens: np.ndarray) -> np.ndarray:
    """Mean over the patch tokens, without the class token."""
    return tokens[:, 1:].mean(axis=1)


def project(p: Arrays, pooled: np.ndarray) -> np.ndarray:
    """Linear, norm, ReLU, twice, and a last Linear: (B, D) -> (B, E)."""
    x = np.maximum(batch_norm(p, 'projector.1', linear(p, 'projector.0', pooled)), 0)
    x = np.maximum(batch_norm(p, 'projector.4', linear(p, 'projector.3', x)), 0)
    return linear(p, 'projector.6', x)


# Losses


def pixel_targets(images: np.ndarray, size: int, norm_pix: bool) -> np.ndarray:
    """What is predicted: (B, C, H, W) -> (B, N, P)."""
    patches = patchify(images, size)
    if not norm_pix:
        return patches
    variance = patches.var(-1, ddof=1, keepdims=True)
    return (patches - patches.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)


def reconstruction_loss(
    p: Arrays, images: np.ndarray, tokens: np.ndarray, ids_keep: np.ndarray, method: Method
) -> float:
    """Mean squared error of each patch, its mean over the masked patches."""
    predicted = decode(p, tokens, ids_keep, method.decoder_num_heads)
    targets = pixel_targets(images, patch_size(p), method.norm_pix)
    errors = ((predicted - targets) ** 2).mean(axis=-1)  # (B, N)
    masked = np.ones_like(errors)
    np.put_along_axis(masked, ids_keep, 0, axis=1)
    return (errors * masked).sum() / masked.sum()


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


def mae_loss(p: Arrays, images: np.ndarray, noise: np.ndarray, method: Method) -> float:
    """MAE (https://arxiv.org/abs/2111.06377) on one view."""
    ids_keep = keep_lowest(noise, method.mask_ratio)
    tokens = encode(p, images, method.num_heads, ids_keep)
    return reconstruction_loss(p, images, tokens, ids_keep, method)


def simclr_loss(p: Arrays, views: list[np.ndarray], method: Method) -> float:
    """SimCLR (https://arxiv.org/abs/2002.05709) on a ViT that sees all patches and pools their mean."""
    projected = [project(p, pool(encode(p, view, method.num_heads))) for view in views]
    return nt_xent(np.concatenate(projected), method.temperature)


def vicmae_losses(
    p: Arrays, views: list[np.ndarray], noise: np.ndarray, method: Method
) -> tuple[float, float]:
    """Reconstruction and contrast, unweighted; of the noise (2B, N) the first half is view 1's."""
    errors, projected = [], []
    for view, own_noise in zip(views, np.split(noise, 2), strict=True):
        ids_keep = keep_lowest(own_noise, method.mask_ratio)
        tokens = encode(p, view, method.num_heads, ids_keep)
        errors.append(reconstruction_loss(p, view, tokens, ids_keep, method))
        projected.append(project(p, pool(tokens)))  # each view by itself: batch norm sees one
    contrast = nt_xent(np.concatenate(projected), method.temperature)
    return 0.5 * (errors[0] + errors[1]), contrast


def vicmae_loss(p: Arrays, views: list[np.ndarray], noise: np.ndarray, method: Method) -> float:
    reconstruction, contrast = vicmae_losses(p, views, noise, method)
    return method.reconstruction_weight * reconstruction + method.contrastive_weight * contrast
