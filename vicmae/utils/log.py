# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.logging import MMLogger


def say(text: str) -> None:
    """Writes a line into the current logger, that of the run if there is one."""
    MMLogger.get_current_instance().info(text)


def warn(text: str) -> None:
    """Writes a warning into the current logger."""
    MMLogger.get_current_instance().warning(text)
