# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of video readers."""

import os
import shutil
import subprocess

import pytest

from vicmae.errors import EnvironmentFault
from vicmae.io.video import READERS, open_video

from .kinds import MADE, Reference


@pytest.fixture(scope='session')
def made(tmp_path_factory):
    """The folder with all files of `MADE`."""
    if not shutil.which('ffmpeg'):
        pytest.skip('needs ffmpeg')
    folder = tmp_path_factory.mktemp('made')
    for name, arguments in MADE.items():
        command = ['ffmpeg', '-v', 'error', *arguments.split(), '-threads', '1', name]
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture(scope='session')
def reference_of():
    """Decodes a file once for all tests."""
    known = {}

    def decode(path):
        if path not in known:
            known[path] = Reference(path)
        return known[path]

    return decode


@pytest.fixture(scope='session')
def at_hand(demo_data):
    """Returns the names of the readers whose library is installed, and the errors of the others."""
    video = sorted((demo_data / 'videos/train').rglob('*.mp4'))[0]
    names, faults = [], {}
    for name in READERS:
        try:
            open_video(str(video), name).close()
            names.append(name)
        except EnvironmentFault as fault:
            faults[name] = str(fault)
    return names, faults


@pytest.fixture(params=READERS)
def reader(request, at_hand):
    """The name of each reader that is at hand, 'auto' included."""
    names, faults = at_hand
    if request.param not in names:
        if os.environ.get('VICMAE_CI'):
            pytest.fail(f'{faults[request.param]} CI installs it.', pytrace=False)
        pytest.skip(faults[request.param])
    return request.param
