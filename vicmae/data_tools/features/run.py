# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes the features of many files, over any number of interruptions and on any number of processes."""

import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from vicmae.apis.features import SECONDS_PER_PIECE, FeatureExtractor, read_guarded
from vicmae.checkpoints.read import require_checkpoint
from vicmae.datasets.bad_files import to_json_line
from vicmae.datasets.clip_reader import ClipReader, Piece
from vicmae.datasets.sources.found_files import PackedNames
from vicmae.engine.processes import init_gloo
from vicmae.errors import ConfigError, DataError, VicmaeError
from vicmae.evaluation.feature_cache import hash_protocol, hash_weights
from vicmae.utils.distributed import GatherOnCPU, rank_and_world_size
from vicmae.utils.files import whole_file
from vicmae.utils.isolated_pool import be_one_of_many, run_isolated
from vicmae.utils.names import count_of
from vicmae.utils.progress import live_bar

from .files import join_parts, require_suffix
from .folder import PartsFolder, PartWriter
from .plan import Part, Plan

_VERSION = 1
_SECONDS_PER_LINE = 30.0  # of progress, without a terminal
_SECONDS_TO_WAIT = 30 * 24 * 3600  # for the slowest process

Report = Callable[..., None]


class Written(NamedTuple):
    """What was written.

    Attributes:
        num_files: Files that were read.
        num_rows: Features of them.
        bad: Why files couldn't be read, by path.
        notes: What is to be known of others.
        text: The same for people.
    """

    num_files: int
    num_rows: int
    bad: dict[str, str]
    notes: dict[str, str]
    text: str


def write_features(
    checkpoint: str | Path,
    inputs: Sequence[str],
    out: str | Path,
    *,
    config: Any = None,
    output: str = 'pooled',
    num_frames: int | None = None,
    window: float | None = None,
    stride: float | None = None,
    batch_size: int = 64,
    num_workers: int | None = None,
    device: str | None = None,
    fresh: bool = False,
    launcher: str = 'none',
    console: Console | None = None,
) -> Written:
    """Encodes files to a file of features, .parquet or .npz. Called again after a kill, it continues.

    With one batch size, device and number of threads, the output is the same to the last bit, however often it was
    interrupted and however many processes took part.

    Args:
        checkpoint: Path of the weights.
        inputs: Files, folders and lists of files.
        out: The output. Complete parts are kept in the folder `OUT.parts` until all are joined.
        config: The config; None for the one that the checkpoint stores.
        output: One of `vicmae.engine.encoding.OUTPUTS`.
        num_frames: Evenly spaced frames of a window or video; see `FeatureExtractor`, also for what follows.
        window: Seconds of a window.
        stride: Seconds from one window to the next.
        batch_size: Frames or clips that are encoded together.
        num_workers: Processes that read; 0 for none, None for one per core.
        device: Device of the model; None for a GPU if there is one.
        fresh: Whether to start over, and to replace an existing output.
        launcher: What started the processes of a distributed run, 'none', 'pytorch' or 'slurm'.
        console: Where to show the progress.
    """
    require_suffix(out)
    require_checkpoint(checkpoint)
    if num_workers is not None and num_workers < 0:
        raise ConfigError(f'`--workers` must be at least 0, got {num_workers}.')
    if batch_size < 1:
        raise ConfigError(f'`--batch-size` must be at least 1, got {batch_size}.')
    plan, folder = Plan(inputs, batch_size, cuts=window is not None), PartsFolder(out)
    if folder.out.exists() and not fresh:
        raise DataError(f'{str(out)!r} exists. Name another `--out`, or replace it with `--fresh`.')
    init_gloo(launcher, dict(timeout=_SECONDS_TO_WAIT))
    rank, _ = rank_and_world_size()
    console = console if console is not None and rank == 0 else Console(quiet=True)
    with ExitStack() as stack:
        if rank == 0:
            stack.enter_context(folder.locked())
        try:
            extractor = FeatureExtractor(
                checkpoint,
                config,
                device=device or _own_device(),
                batch_size=batch_size,
                num_frames=num_frames,
                window=window,
                stride=stride,
                output=output,  # type: ignore[arg-type]  # it is checked
                pads=True,
            )
        except VicmaeError:
            raise
        except ValueError as error:  # of an option
            raise ConfigError(str(error)) from error
        settings = _settings(extractor, plan, output, batch_size)
        if rank == 0:
            folder.begin(settings, fresh=fresh)
        gather = GatherOnCPU()
        shared = gather((settings, str(uuid.uuid4())))
        if any(theirs != settings for theirs, _ in shared):
            raise DataError(
                'The processes of this run find different files or models: nothing was encoded.'
            )
        if num_workers is None:
            local = int(os.environ.get('LOCAL_WORLD_SIZE', '1')) if launcher != 'none' else 1
            num_workers = max(1, len(os.sched_getaffinity(0)) // local)
        _encode_missing(plan, folder, extractor, _Counter(shared[0][1]), num_workers, console)
        if len(shared) > 1:
            console.print('waiting for the other processes')
        gather(None)
        if rank == 0:
            return _finish(plan, folder, dict(settings, checkpoint=str(checkpoint)))
    return Written(len(plan.files), 0, {}, {}, '')


def _own_device() -> str:
    if not torch.cuda.is_available():
        return 'cpu'
    return f'cuda:{int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()}'


def _settings(
    extractor: FeatureExtractor, plan: Plan, output: str, batch_size: int
) -> dict[str, Any]:
    """Returns all that the features depend on, but the files' contents."""
    reader, model = extractor.reader, extractor.model
    size = reader.size
    return dict(
        version=_VERSION,
        files=plan.digest,
        num_files=len(plan.files),
        weights=hash_weights(model.state_dict()),
        model=hash_protocol(model=repr(model), torch=torch.__version__),
        image_size=size if isinstance(size, int) else list(size),
        num_frames=reader.num_frames,
        window=reader.window,
        stride=reader.stride,
        output=output,
        batch_size=batch_size,
        device=next(model.parameters()).device.type,
    )


class _Counter:
    """Counts over all processes of a run."""

    def __init__(self, name: str) -> None:
        self._name, self._alone = name, itertools.count(1)
        self._store: Any = None
        self._total = 0
        if rank_and_world_size()[1] > 1:
            self._store = torch.distributed.distributed_c10d._get_default_store()

    def next(self) -> int:
        """Returns a number that no other process gets, from 0."""
        if self._store is None:
            return next(self._alone) - 1
        return self._store.add(f'{self._name}/parts', 1) - 1

    def add(self, number: int) -> int:
        """Adds a number of files, and returns the sum over all processes."""
        if self._store is None:
            self._total += number
            return self._total
        return self._store.add(f'{self._name}/files', number)


# ------------------------------------------------------------------------- encoding
class _OpenPart:
    """A part that is being encoded."""

    def __init__(self, part: Part, folder: PartsFolder, extractor: FeatureExtractor) -> None:
        self.file: int | None = None
        self._encoder = extractor.new_encoder()
        tubelet = extractor.model.backbone.patch_size[0] if extractor.reader.takes_clips else 1
        num_frames = extractor.reader.num_frames
        if self._encoder.output != 'pooled':
            num_frames = min(num_frames, tubelet)
        self._writer = PartWriter(folder, part, num_frames)

    def take(self, file: int, piece: Piece | str | None) -> None:
        """Takes the beginning of a file (None), a piece of it, or why it can't be read."""
        if piece is None:
            self.file = file
            self._encoder.begin()
        elif isinstance(piece, str):
            self._writer.bad[file] = piece
        else:
            if piece.note:
                self._writer.notes[file] = piece.note
            for row in self._encoder.add(file, piece):
                self._writer.add(row)

    def finish(self) -> dict[str, Any]:
        """Encodes and writes the rest."""
        for row in self._encoder.finish():
            self._writer.add(row)
        return self._writer.finish()


def _encode_missing(
    plan: Plan,
    folder: PartsFolder,
    extractor: FeatureExtractor,
    counter: _Counter,
    num_workers: int,
    console: Console,
) -> None:
    """Encodes parts that aren't complete and that no other process has begun."""
    num_done = 0
    columns = ('encoding', BarColumn(), MofNCompleteColumn(), 'files, {task.fields[rows]} features')
    bar = live_bar(
        console,
        *columns,
        '{task.fields[bad]} bad',
        TimeRemainingColumn(),
        total=len(plan.files),
        rows=0,
        bad=0,
    )

    def missing() -> Iterator[Part]:
        nonlocal num_done
        while (number := counter.next()) < len(plan):
            part = plan[number]
            if folder.is_done(number):
                num_done += 1
                counter.add(part.num_files)
            else:
                yield part

    num_rows = num_bad = 0
    shown = console.get_time()
    with bar as update:
        for part, summary in _encode(missing(), plan, folder, extractor, num_workers):
            num_rows += summary['num_rows']
            num_bad += len(summary['bad'])
            num_files = counter.add(part.num_files)
            update(completed=num_files, rows=num_rows, bad=num_bad)
            if not console.is_terminal and console.get_time() - shown > _SECONDS_PER_LINE:
                shown = console.get_time()
                console.print(f'encoding: {num_files}/{len(plan.files)} files, {num_bad} bad')
    if num_done:
        console.print(
            f'{num_done} of {count_of(len(plan), "part")} were complete: continued after them.'
        )


def _encode(
    parts: Iterator[Part],
    plan: Plan,
    folder: PartsFolder,
    extractor: FeatureExtractor,
    num_workers: int,
) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Encodes parts; yields each with its summary when it is complete."""
    if not num_workers:
        for part in parts:
            alone = _OpenPart(part, folder, extractor)
            for file, piece in _read_part(plan.files, extractor.reader, part):
                alone.take(file, piece)
            yield part, alone.finish()
        return
    again: list[Part] = []
    read = partial(_read_part_alone, plan.files, extractor.reader)
    while True:
        opened: dict[int, _OpenPart] = {}
        outcomes: Any = run_isolated(
            read, parts, num_workers=num_workers, seconds=SECONDS_PER_PIECE
        )
        with closing(outcomes):
            for outcome in outcomes:
                part = outcome.item
                if part.number not in opened:
                    opened[part.number] = _OpenPart(part, folder, extractor)
                if outcome.error:
                    again.append(_without(part, opened.pop(part.number).file, outcome.error, plan))
                elif outcome.is_last:
                    yield part, opened.pop(part.number).finish()
                else:
                    opened[part.number].take(*outcome.value)
        if not again:
            return
        parts, again = iter(again), []


def _without(part: Part, file: int | None, error: str, plan: Plan) -> Part:
    """Returns a part without the file that ended its process: it is encoded as if the file were not there."""
    if file is None:
        raise RuntimeError(f'A process that reads files {error}, before it opened one.')
    text = f"Can't read {plan.files[file]!r}: {error}."
    return part._replace(skipped={**part.skipped, file: text})


def _read_part(
    files: PackedNames, reader: ClipReader, part: Part
) -> Iterator[tuple[int, Piece | str | None]]:
    """Reads the files of a part: number of the file, and None where it begins, pieces, or why it can't be read."""
    for number in range(part.first, part.end):
        yield number, None
        if number in part.skipped:
            yield number, part.skipped[number]
            continue
        for piece in read_guarded(reader, files[number], part.span):
            yield number, piece


def _read_part_alone(
    files: PackedNames, reader: ClipReader, part: Part
) -> Iterator[tuple[int, Piece | str | None]]:
    """Reads a part in a separate process."""
    be_one_of_many()
    yield from _read_part(files, reader, part)


# ------------------------------------------------------------------------- joining
def _finish(plan: Plan, folder: PartsFolder, settings: Mapping[str, Any]) -> Written:
    num_rows = 0
    bad: dict[str, str] = {}
    notes: dict[str, str] = {}
    for number in range(len(plan)):
        summary = folder.summary(number)
        num_rows += summary['num_rows']
        bad |= {plan.files[int(file)]: text for file, text in summary['bad'].items()}
        for file, text in summary['notes'].items():  # of each part of a long video
            path = plan.files[int(file)]
            notes[path] = f'{notes[path]}; {text}' if path in notes else text
    bad_list = Path(f'{folder.out}.bad_files.jsonl')
    with folder.errors_named():
        bad_list.unlink(missing_ok=True)
        if bad or notes:
            with whole_file(bad_list) as file:
                for path, text in bad.items():
                    file.write(to_json_line(dict(file=path, error=text)).encode())
                for path, text in notes.items():
                    file.write(to_json_line(dict(file=path, note=text)).encode())
    if not num_rows:
        raise DataError(
            f'None of the {len(plan.files)} files can be read, such as {next(iter(bad))!r}: {str(bad_list)!r} says why.'
        )
    join_parts(plan, folder, settings)
    folder.remove()
    text = f'{folder.out}: {count_of(num_rows, "feature")} of {count_of(len(plan.files) - len(bad), "file")}'
    counts = [f"{count_of(len(bad), 'file')} can't be read"] if bad else []
    counts += [f'{len(notes)} with notes'] if notes else []
    if counts:
        text += f'\n{", ".join(counts)}: {bad_list}'
    return Written(len(plan.files), num_rows, bad, notes, text)
