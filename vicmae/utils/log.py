# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.logging import MMLogger


def say(text: str) -> None:
    """Writes a line into the log of the run, or of whatever made a logger last."""
    MMLogger.get_current_instance().info(text)


def warn(text: str) -> None:
    """Writes a warning into it."""
    MMLogger.get_current_instance().warning(text)
