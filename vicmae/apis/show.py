# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws what models compute for images and videos. T frames, C channels, H W pixels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.utils.names import distinct_names
from vicmae.utils.spread import pick_evenly
from vicmae.visualization.inside_page import Inside
from vicmae.visualization.looks import look_inside, require_vit
from vicmae.visualization.panels import (
    attention_panels,
    color_panels,
    nearest_panels,
    reconstruction_panels,
)
from vicmae.visualization.reconstruction import (
    Reconstructions,
    draw_reconstructions,
    require_decoder,
)

from .features import FRAMES_OF_A_VIDEO, list_media, load_clips

WHAT = ('pca', 'attention', 'nearest', 'reconstruction')


def show_inside(
    models: Mapping[str, Any],
    paths: Sequence[str],
    *,
    what: Sequence[str] | None = None,
    num_frames: int | None = None,
    number: int = 16,
    point: tuple[float, float] = (0.5, 0.5),
    seed: int = 0,
    report: Callable[[float], None] = lambda share: None,
) -> Inside:
    """Draws what models compute for the patches of images and videos. Nothing is written.

    Args:
        models: Models from `load_model`, by a short name each.
        paths: Images, videos, and folders of them.
        what: Some of 'pca', 'attention', 'nearest' and 'reconstruction'. By default all that the models and the inputs
            allow.
        num_frames: Evenly spaced frames of a video. By default 8, or the frames of the model's clips.
        number: Number of inputs at most: of more, evenly spaced ones are shown.
        point: Where the patch is whose nearest ones are shown, (x, y) as shares of width and height.
        seed: Seed of the masks, which are the same for all inputs.
        report: Called with the share of the work that is done.
    """
    unknown = [part for part in what or () if part not in WHAT]
    if unknown:
        raise ValueError(f'`what` must be some of {", ".join(WHAT)}, got {unknown[0]!r}.')
    if number < 1:
        raise ValueError(f'`number` must be at least 1, got {number}.')
    files = list_media(paths)
    notes = []
    if len(files) > number:
        notes.append(f'Of {len(files):,} inputs, {number} are shown, evenly spread.')
        files = pick_evenly(files, number)
    for label, model in models.items():
        with _naming(label):
            require_vit(model)
            _check_frames(model, num_frames)
    parts, left_out = _choose(models, what, len(files))
    clips = {label: _load(model, files, num_frames) for label, model in models.items()}
    names = distinct_names(files)
    looked_at = models if set(parts) - {'reconstruction'} else {}
    total = len(files) * (len(looked_at) + len(parts.get('reconstruction', ())))
    done = _Counter(total, report)
    looks = {
        label: [done(look_inside(model, clip)) for clip in clips[label]]
        for label, model in looked_at.items()
    }
    inside = Inside(names, list(models), [], [*notes, *left_out])
    if 'pca' in parts:
        panels, inside.explained = color_panels(names, looks)
        inside.panels += panels
    if 'attention' in parts:
        inside.panels += attention_panels(names, looks)
    if 'nearest' in parts:
        inside.panels += nearest_panels(names, looks, point)
    if 'reconstruction' in parts:
        drawn = {
            label: [done(_reconstruct(models[label], clip, seed)) for clip in clips[label]]
            for label in parts['reconstruction']
        }
        inside.panels += reconstruction_panels(names, drawn)
    return inside


class _Counter:
    """Reports the share of the work that is done, and passes results on."""

    def __init__(self, total: int, report: Callable[[float], None]) -> None:
        self.total, self.report, self.count = total, report, 0

    def __call__(self, result: Any) -> Any:
        self.count += 1
        self.report(self.count / self.total)
        return result


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """Puts the name of a model before the message of an error."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f'{label}: {error}') from error


def _check_frames(model: Any, num_frames: int | None) -> None:
    tubelet_size = model.backbone.patch_size[0]
    if num_frames is not None and num_frames % tubelet_size:
        raise ConfigError(
            f'The number of frames must be a multiple of the {tubelet_size} frames of a tubelet, got {num_frames}. '
            f'Use {num_frames + tubelet_size - num_frames % tubelet_size}.'
        )


def _choose(
    models: Mapping[str, Any], what: Sequence[str] | None, num_inputs: int
) -> tuple[dict[str, list[str]], list[str]]:
    """Chooses what to show, and of which models; says what was left out. What was asked for must be possible."""
    parts = {part: list(models) for part in what or WHAT}
    left_out = []
    if 'nearest' in parts and num_inputs < 2:
        text = 'The nearest patches are those of other inputs, and there is one input. Give more.'
        if what:
            raise ConfigError(text)
        left_out.append(text)
        del parts['nearest']
    for label in parts.get('reconstruction', [])[:]:
        try:
            with _naming(label):
                require_decoder(models[label])
        except ConfigError as error:
            if what:
                raise
            left_out.append(f'No reconstructions of {error}')
            parts['reconstruction'].remove(label)
    return {part: labels for part, labels in parts.items() if labels}, left_out


def _load(model: Any, files: Sequence[str], num_frames: int | None) -> list[Tensor]:
    """Reads files as clips (T, C, H, W), uint8, an image as one of a single frame."""
    backbone = model.backbone
    default = backbone.num_frames if backbone.takes_clips else FRAMES_OF_A_VIDEO
    return load_clips(files, backbone.img_size, num_frames=num_frames or default)


def _reconstruct(model: Any, clip: Tensor, seed: int) -> Reconstructions:
    """Draws the reconstruction of a clip, by a model of images frame by frame: three arrays (T, H, W, C)."""
    if not model.backbone.takes_clips:
        return draw_reconstructions(model, clip, seed=seed, same_masks=True)
    if len(clip) == 1:
        return draw_reconstructions(model, clip, seed=seed)
    drawn = draw_reconstructions(model, clip[None], seed=seed)
    return Reconstructions(*(pictures[0] for pictures in drawn))
