# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The formats of checkpoints, and which one a file has."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from . import hugging_face, mae, mae_st, official, omni_mae, timm, video_mae
from .options import size_options
from .table import Table

OURS = 'vicmae'


class Format(NamedTuple):
    """A format of checkpoints.

    Attributes:
        table_of: Returns the table of a file, from its keys.
        marks: Pattern of keys that no other format has. None: keys that other formats may have, too.
        options: Options of a config that a model needs, besides those that its weights show.
        decoder_heads: Number of heads by width of the decoder.
        two_way: Whether vicmae's checkpoints can be converted to it.
    """

    table_of: Callable[[Collection[str]], Table]
    marks: re.Pattern[str] | None = None
    options: Mapping[str, Any] = {}
    decoder_heads: Mapping[int, int] = {}
    two_way: bool = False

    def model_options(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Returns the options of a config with which converted weights fit."""
        return {**size_options(weights, self.decoder_heads), **self.options}


_VIDEO_MAE = Format(
    video_mae.table_of,
    re.compile(r'blocks\.\d+\.attn\.q_bias$|encoder_to_decoder\.'),
    decoder_heads={192: 3, 384: 6, 512: 8, 640: 8},
)
# Of files that are not vicmae's.
FORMATS: dict[str, Format] = {
    'vicmae-official': Format(lambda _: official.TABLE, two_way=True),
    'mae': Format(lambda _: mae.TABLE, two_way=True),
    'mae-st': Format(
        mae_st.table_of,
        re.compile(r'pos_embed_(spatial|temporal)$|blocks\.\d+\.attn\.q\.'),
        {
            'model.backbone.learn_pos_embed': True,
            'model.backbone.repeat_cls_token': False,
            'model.data_preprocessor.mean': [114.75] * 3,
            'model.data_preprocessor.std': [57.375] * 3,
        },
    ),
    'videomae': _VIDEO_MAE,
    'videomae-v2': _VIDEO_MAE,
    'omnimae': Format(
        omni_mae.table_of,
        re.compile(r'(^|\.)trunk\.(patch_embed\.proj\.1|blocks)\.'),
    ),
    'hf': Format(
        hugging_face.table_of,
        re.compile(r'(^|\.)embeddings\.patch_embeddings\.'),
        decoder_heads={192: 3, 384: 6, 512: 16},
    ),
    'timm': Format(timm.table_of),
}
CHECKPOINT_FORMATS = (OURS, *FORMATS)


def detect_format(keys: Collection[str]) -> str | None:
    """Returns the format of a file, one of `CHECKPOINT_FORMATS`, or None."""
    marked = marked_format(keys)
    if marked is not None:
        return marked
    if has_format(keys, OURS):
        return OURS
    if not has_format(keys, 'mae'):
        return None
    return 'vicmae-official' if any(key.startswith('projector.') for key in keys) else 'mae'


def has_format(keys: Collection[str], checkpoint_format: str) -> bool:
    """Returns whether a file has any key of a format, and none that marks another one.

    Names of the projector don't count: two formats share them.
    """
    marked = marked_format(keys)
    marks = None if checkpoint_format == OURS else FORMATS[checkpoint_format].marks
    if marks is not (None if marked is None else FORMATS[marked].marks):
        return False
    is_ours = checkpoint_format == OURS
    table = official.TABLE if is_ours else FORMATS[checkpoint_format].table_of(keys)
    return any(
        name in keys and not name.startswith('projector.')
        for place in table.places(keys, of_vicmae=is_ours)
        for name in ((place.target,) if is_ours else place.sources)
    )


def marked_format(keys: Collection[str]) -> str | None:
    """Returns the format that has a key of its own."""
    for name, checkpoint_format in FORMATS.items():
        marks = checkpoint_format.marks
        if marks is not None and any(marks.search(key) for key in keys):
            return name
    return None
