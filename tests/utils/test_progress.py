# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io
import threading

import pytest
from rich.console import Console

from vicmae.utils.progress import share_bar


@pytest.mark.parametrize('terminal', [True, False])
def test_bar_is_drawn_only_on_a_terminal_and_without_a_thread(terminal):
    file = io.StringIO()
    before = threading.active_count()
    with share_bar('loading', Console(file=file, force_terminal=terminal, width=80)) as report:
        report(0.25)
        assert threading.active_count() == before  # a fork must not meet a lock that a thread holds
    assert ('25%' in file.getvalue()) == terminal
    assert ('loading' in file.getvalue()) == terminal
