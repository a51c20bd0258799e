# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What would make samples come faster, tried on a few files."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vicmae.data_tools.packing.shard_writer import write_shard
from vicmae.datasets.sample_key import SampleKey
from vicmae.datasets.sources.shard_source import ImageShards, VideoShards
from vicmae.datasets.sources.source import Source
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage

from ..packing.recoding import Recipe, ShrinkImages, VideosAsJpeg, VideosAsMp4
from ..steps import steps
from .stages import ENOUGH_FILES, Group, Stages, time_of

_VISITS = 8  # to each file
_MOST_FRAMES = 1000  # of a video that is encoded anew for a trial
_WORTH_IT = 0.2  # share of the time that a change has to be about
_TOGETHER = 4


class Advice(NamedTuple):
    """A change, and what it is worth.

    Attributes:
        reason: What a worker's time for a sample goes into, by the shares of the report's table.
        change: What to do.
        factor: How many times faster samples are loaded then.
        how: What the factor was measured on.
    """

    reason: str
    change: str
    factor: float
    how: str

    def __str__(self) -> str:
        return f'{self.reason}: {self.change}, loads {self.factor:.1f}x faster ({self.how})'


def advise(
    source: Source, stages: Stages, groups: Sequence[Group], whole: float | None = None
) -> list[Advice]:
    """Tries what may help, the best first; nothing on fewer files than tell anything.

    Args:
        source: The source that was measured.
        stages: What was measured.
        groups: Visits that can be loaded.
        whole: A worker's time for a sample, of which the reasons tell shares; that of loading it if None.
    """
    groups = list({group[0].index: group for group in groups}.values())  # each file once
    if len(groups) < ENOUGH_FILES:
        return []
    whole = whole or stages.total
    found = list(_colour(stages, whole))
    media = sum(stages.seconds.get(name, 0.0) for name in ('open', 'seek', 'decode'))
    if media > _WORTH_IT * stages.total:
        if source.kind == 'video' and source.visits_per_opening == 1:
            found.append(_visits_together(source, stages, groups, whole))
        found += _packed(source, stages, groups, whole)
    return sorted((a for a in found if a.factor > 1.05), key=lambda a: -a.factor)


def _colour(stages: Stages, whole: float) -> Iterator[Advice]:
    seconds = stages.seconds['colour']
    if seconds > _WORTH_IT / 2 * stages.total:
        yield Advice(
            f"colour takes {seconds / whole:.0%} of a worker's time",
            'move it to the device with `on_device=True` of TwoViews',
            stages.total / (stages.total - seconds),
            f'the time without it, measured on {stages.num_files} files',
        )


def _visits_together(
    source: Source, stages: Stages, groups: Sequence[Group], whole: float
) -> Advice:
    some = [group[0] for group in groups[: 2 * ENOUGH_FILES]]
    together = [[key._replace(visit=n) for n in range(_TOGETHER)] for key in some]
    apart = [[key] for group in together for key in group]
    share = (stages.seconds['open'] + stages.seconds['seek']) / whole
    return Advice(
        f"opening and seeking take {share:.0%} of a worker's time",
        f'draw several samples from each opening with `visits_per_opening={_TOGETHER}`',
        time_of(source, apart) / time_of(source, together),
        f'measured on {len(some)} videos',
    )


# ------------------------------------------------------------------------- packing
class _Some(Source):
    """A few samples of a source, with the same pipeline."""

    def __init__(self, source: Source, known: Sequence[dict[str, Any]]) -> None:
        super().__init__(pipeline=list(source.pipeline))
        self.kind = source.kind
        self.known = known

    def __len__(self) -> int:
        return len(self.known)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return dict(self.known[index])


def _packed(
    source: Source, stages: Stages, groups: Sequence[Group], whole: float
) -> Iterator[Advice]:
    """Packs a few files in each way that may help, and loads the same visits from there."""
    small = [source.get_data_info(g[0].index) for g in groups if _is_small(source, g)]
    chosen = _Some(source, small[:ENOUGH_FILES])
    if len(chosen) < ENOUGH_FILES:
        return
    together = source.visits_per_opening
    visits = [
        [SampleKey(0, 0, index, visit + n) for n in range(together)]
        for visit in range(0, _VISITS, together)
        for index in range(len(chosen))
    ]
    before = time_of(chosen, visits)
    for reason, options, recipe in _recipes(source, stages, chosen, whole):
        with tempfile.TemporaryDirectory() as folder:
            try:
                packed = _pack(chosen, recipe, folder)
            except DataError:  # a damaged part that the visits so far didn't meet
                continue
            after = time_of(packed, visits)
        yield Advice(
            reason,
            f'pack with `python tools/dataset_converters/pack.py ... {options}`',
            before / after,
            f'measured on {len(chosen)} {source.kind}s',
        )


def _is_small(source: Source, group: Group) -> bool:
    """Whether a file can be packed in a moment."""
    if source.kind != 'video':
        return True
    for _, (visit, *_) in steps(source, group[:1]):
        if 'reader' in visit:
            visit['reader'].close()
            return visit['num_frames'] <= _MOST_FRAMES
    return False


def _recipes(
    source: Source, stages: Stages, chosen: Source, whole: float
) -> Iterator[tuple[str, str, Recipe]]:
    """Why and how to pack, and what that does to a file."""
    seek = stages.seconds.get('seek', 0.0)
    what = 'seeking and decoding take' if seek else 'decoding takes'
    bound = f"{what} {(stages.seconds['decode'] + seek) / whole:.0%} of a worker's time"
    if source.kind == 'image':
        sides = sorted(_short_side(chosen.get_data_info(n)) for n in range(len(chosen)))
        if sides[len(sides) // 2] > 400:
            yield (
                f'{bound}, short sides are {sides[len(sides) // 2]} pixels',
                '--short-side 320',
                ShrinkImages(short_side=320),
            )
        return
    if stages.key_interval is not None:
        reason = f'{bound}, key frames lie {stages.key_interval:.0f} frames apart'
        yield reason, '--gop 12 --tune fastdecode', VideosAsMp4()
        reason = f'{bound}, each frame needs those before it'
        yield reason, '--video-as jpeg --fps 5', VideosAsJpeg()


def _short_side(known: dict[str, Any]) -> int:
    image = EncodedImage(known.get('media', known['path']), known['path'])
    return min(image.height, image.width)


def _pack(chosen: Source, recipe: Recipe, folder: str) -> Source:
    path = str(Path(folder, f'{chosen.kind}s.tar'))
    with write_shard(path) as shard:
        for index in range(len(chosen)):
            known = chosen.get_data_info(index)
            recoded = recipe(known)
            shard.add(f'{index:09d}', recoded.members, dict(path=known['path'], **recoded.notes))
    shards = ImageShards if chosen.kind == 'image' else VideoShards
    return shards(path, pipeline=list(chosen.pipeline))
