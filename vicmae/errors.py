# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Errors whose message is meant for the user: the tools print it alone, without a traceback."""


class VicmaeError(Exception):
    """Base of all errors that a user can cause and fix.

    The message says what is wrong, the value that was found and what to do. The subclasses are
    built-in errors too (`ValueError`, `RuntimeError`, `ImportError`), for code that catches those.

    Attributes:
        exit_status: What a tool ends with.
    """

    exit_status = 1


class ConfigError(VicmaeError, ValueError):
    """A config, or an override of one, that can't be built."""


class DataError(VicmaeError, ValueError):
    """A data root, list file or sample that can't be used."""


class CheckpointError(VicmaeError, ValueError):
    """A checkpoint that is damaged or doesn't fit the model."""


class TornCheckpointError(CheckpointError):
    """A checkpoint that is incomplete, or has changed since it was written."""


class Preempted(VicmaeError):
    """A preempted run. It has written a checkpoint, and a launcher may restart it."""

    exit_status = 75  # "temporary failure" of sysexits.h


class TrainingError(VicmaeError, RuntimeError):
    """A run that can't continue because losses or gradients are not finite (NaN, Inf)."""


class EnvironmentFault(VicmaeError, ImportError):
    """Installed packages that are missing or don't work together."""
