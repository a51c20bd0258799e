# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Errors with a message for the user, which commands print without a traceback."""


class VicmaeError(Exception):
    """Base of all errors that a user can cause and fix.

    The message says what is wrong, the value received and what to do. The subclasses are also
    built-in errors (`ValueError`, `RuntimeError`, `ImportError`), for code that catches those.

    Attributes:
        exit_status: Exit status of a command that ends with this error.
    """

    exit_status = 1


class ConfigError(VicmaeError, ValueError):
    """A config or an override is invalid."""


class DataError(VicmaeError, ValueError):
    """A data root, list file or sample can't be used."""


class CheckpointError(VicmaeError, ValueError):
    """A checkpoint is corrupt, or doesn't fit the model."""


class TornCheckpointError(CheckpointError):
    """A checkpoint is truncated, or was changed since it was written."""


class Preempted(VicmaeError):
    """A run was preempted. It has written a checkpoint, and a launcher may restart it."""

    exit_status = 75  # "temporary failure" of sysexits.h


class TrainingError(VicmaeError, RuntimeError):
    """Training can't continue, because losses or gradients are not finite (NaN, Inf)."""


class EnvironmentFault(VicmaeError, ImportError):
    """Packages are missing or incompatible."""
