# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Common parts of all commands. Imports nothing heavy, so that `--help` answers at once."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vicmae.config.literals import read_literal
from vicmae.errors import VicmaeError
from vicmae.utils.env_vars import TRACEBACK, TRUST_CHECKPOINT

# What gloo and NCCL say where another rank is gone.
_LOST_PEER = (
    'Connection closed by peer',
    'Connection reset by peer',
    'gloo/transport/',
    'ncclRemoteError',
    'NCCL communicator was aborted',
)


def run_tool(main: Callable[[], Any], *, when_interrupted: str | Callable[[], str] = '') -> None:
    """Runs a tool's main function. An error that the user can fix ends the process with one message.

    Set `VICMAE_TRACEBACK=1` to see where such an error came from.

    Args:
        main: The tool.
        when_interrupted: A hint to print after Ctrl-C, or a function that returns one.
    """
    # Read when torch is first imported. Threads that wait for each other must not spin: on a machine whose cores
    # have other work too, such as the loader's, a step on the CPU took four times as long.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    os.environ.setdefault('GOMP_SPINCOUNT', '0')
    try:
        main()
    except KeyboardInterrupt:
        print(f'\nInterrupted. {_text(when_interrupted)}'.rstrip(), file=sys.stderr)
        sys.exit(130)
    except VicmaeError as error:
        if os.environ.get(TRACEBACK):
            raise
        prefix = 'error: ' if error.exit_status == 1 else ''
        print(f'{prefix}{_message(error)}', file=sys.stderr)
        sys.exit(error.exit_status)
    except RuntimeError as error:
        if os.environ.get(TRACEBACK) or not _is_lost_peer(error):
            raise
        here = str(error).splitlines()[0]
        text = (
            f'error: Another process of this run has ended; its own message says why. Here: {here}'
        )
        print(f'{text} {_text(when_interrupted)}'.rstrip(), file=sys.stderr)
        sys.exit(1)


def _text(hint: str | Callable[[], str]) -> str:
    return hint() if callable(hint) else hint


def end_when_output_is_closed() -> None:
    """Makes a command that only prints end quietly in `vicmae configs | head`."""
    if hasattr(signal, 'SIGPIPE'):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _is_lost_peer(error: RuntimeError) -> bool:
    """Returns whether this process failed because another one did."""
    return any(sign in str(error) for sign in _LOST_PEER)


def _message(error: VicmaeError) -> str:
    """Returns an error's message, without the traceback that a loader's worker puts around it."""
    text = str(error)
    if 'Original Traceback' in text:
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return text.strip()


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `CONFIG`, which `find_config` finds."""
    parser.add_argument('config', help='path of a config, or a name that `vicmae configs` lists')


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--cfg-options`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config by dotted key, such as train_dataloader.batch_size=8 '
        'or model.aggregator.type=MaxPooling; lists as "[1,2]" or 1,2',
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust-checkpoint`."""
    parser.add_argument(
        '--trust-checkpoint',
        nargs=0,
        action=TrustCheckpoint,
        help='allow checkpoints to run the code that they contain; by default only tensors and plain values are read, '
        'and a checkpoint that holds more is refused',
    )


class TrustCheckpoint(argparse.Action):
    """Sets in the environment that checkpoints are trusted, for this process and those that it starts."""

    def __call__(self, *_: Any, **__: Any) -> None:
        os.environ[TRUST_CHECKPOINT] = '1'


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--launcher` and the rank that launchers pass."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    # torch.distributed.launch passes the rank along; torchrun sets LOCAL_RANK.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


class KeyValues(argparse.Action):
    """Parses KEY=VALUE pairs into a dict; unlike MMEngine's `DictAction`, needs no import of it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for pair in values or []:
            key, equals, value = str(pair).partition('=')
            if not key or not equals:
                parser.error(f'{option_string} takes KEY=VALUE, got {pair!r}')
            options[key] = parse_value(value)
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Reads a value as Python where it is a literal or `dict(...)`, as a list where it has commas, else as text."""
    words: dict[str, Any] = {'true': True, 'false': False, 'none': None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = read_literal(text)
    except (ValueError, SyntaxError):
        return [parse_value(item) for item in text.split(',')] if ',' in text else text
    return list(value) if isinstance(value, tuple) and not text.startswith('(') else value
