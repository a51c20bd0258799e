# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from vicmae.registry import RUNNERS

_LONG = 12
# What MMEngine says in every run and nobody can act on.
_NO_NEWS = ('"FileClient" will be', '"HardDiskBackend" is', 'Distributed training is not used')


@RUNNERS.register_module()
class QuietRunner(Runner):
    """MMEngine's Runner that shows short messages on the console and everything in the log file.

    Environment, config and the order of hooks are some six hundred lines at the start of each run.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_news)
        return logger


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if record.levelno > logging.INFO and not message.startswith(_NO_NEWS):
        return True
    return message.count('\n') < _LONG and not message.startswith(_NO_NEWS)
