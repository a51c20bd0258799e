# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.logging import MMLogger


def say(text: str) -> None:
    """Logs a line with the current logger, the run's if there is one."""
    MMLogger.get_current_instance().info(text)


def warn(text: str) -> None:
    """Logs a warning with the current logger."""
    MMLogger.get_current_instance().warning(text)
