# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`vicmae doctor`: the state of a machine, and what would keep it from training.

Unlike `vicmae.environment`, it imports and uses what it checks. It has to run in a faulty environment, so only the
standard library is imported at the top.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TextIO

from vicmae.environment import (
    REQUIRED,
    SUPERSEDED,
    VIDEO_READERS,
    find_faults,
    fix_package,
    fix_reader,
    import_error,
    installed,
    is_importable,
    is_proven,
    pip,
)
from vicmae.version import __version__

Status = Literal['ok', 'note', 'warning', 'FAULT']

GIB = 1024**3
# OpenCV's windows need these, and a machine without a desktop may lack them.
DESKTOP_LIBRARIES = ('libGL', 'libgthread', 'libxcb')
GET_TORCH = 'https://pytorch.org/get-started/locally'


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    A 'FAULT' has to be fixed before training can work.
    """

    status: Status
    what: str
    found: str
    fix: str = ''

    def __str__(self) -> str:
        line = f'{self.status:<7}  {self.what:<16}  {self.found}'
        return f'{line}\n{"":27}fix: {self.fix}' if self.fix else line


def run_doctor(stream: TextIO) -> int:
    """Prints versions, hardware and findings; returns the exit status: 1 if training cannot work."""
    print(describe_machine(), end='\n\n', flush=True, file=stream)
    statuses = []
    for check in (check_packages, check_gpus, check_video, check_limits):
        for finding in _survive(check):
            statuses.append(finding.status)
            print(finding, flush=True, file=stream)
    faults, warnings = statuses.count('FAULT'), statuses.count('warning')
    verdict = 'cannot work' if faults else 'can work'
    print(f'Training {verdict} here: {faults} fault(s), {warnings} warning(s).', file=stream)
    return 1 if faults else 0


def _survive(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # whatever a half-installed package raises
        what = check.__name__.removeprefix('check_')
        yield Finding('FAULT', what, f'the check failed: {first_line(error)}', 'fix the rest first')


def describe_machine() -> str:
    """Versions and hardware in the format of PyTorch's bug reports, without the CPU's long lines."""
    own = f'vicmae {__version__} in {Path(__file__).parents[1]}\nPython: {sys.executable}'
    try:
        from torch.utils import collect_env

        info = collect_env.get_env_info()
        cpu = str(info.cpu_info).splitlines()
        cpu = [line for line in cpu if not line.startswith(('Flags', 'Vulnerability'))]
        return f'{own}\n' + collect_env.pretty_str(info._replace(cpu_info='\n'.join(cpu)))
    except Exception:  # the checks say what is wrong with torch
        return f'{own}\n{platform.platform()}, Python {platform.python_version()}'


def check_packages() -> Iterator[Finding]:
    """Reports faults in the metadata, then imports what is there and compares the versions."""
    faults = find_faults()
    for fault in faults:
        status: Status = 'FAULT' if is_proven(fault) else 'warning'
        yield Finding(status, 'packages', f'{fault.what} (found: {fault.found})', fault.fix)
    for name, module in REQUIRED.items():
        if is_importable(module):
            yield check_package(name, module, blame_faults=bool(faults))
    if import_error('torchvision') is None:
        yield check_torch_pair()


def check_package(name: str, module: str, *, blame_faults: bool) -> Finding:
    """Imports a package and compares its version with the registered one.

    With `blame_faults`, other faults have to be fixed first.
    """
    error, dist = import_error(module), installed(name)
    if error is not None:
        found = f'import fails: {first_line(error)}'
    else:
        version = getattr(import_module(module), '__version__', None)
        registered = dist.version if dist else None
        if name not in SUPERSEDED or version == registered:
            return Finding('ok', name, str(version or registered))
        found = f'imports as {version}, but {registered} is registered'
    return Finding('FAULT', name, found, fix_import(name, error, blame_faults=blame_faults))


def fix_import(name: str, error: Exception | None, *, blame_faults: bool) -> str:
    """Returns the command that makes a package importable."""
    # mmengine and mmcv import OpenCV, and fail with its message.
    if any(library in str(error) for library in DESKTOP_LIBRARIES):
        swap = [pip('uninstall -y', 'opencv-python'), pip('install', 'opencv-python-headless')]
        return f'apt-get install libgl1 libglib2.0-0, or without root: {" && ".join(swap)}'
    return 'fix the faults above first' if blame_faults else fix_package(name)


def check_torch_pair() -> Finding:
    """Calls an operator of torchvision that is compiled against torch."""
    torch, torchvision = import_module('torch'), import_module('torchvision')
    try:
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (AttributeError, RuntimeError) as error:
        fix = pip('install', '--force-reinstall', 'torch', 'torchvision')
        return Finding('FAULT', 'torch pair', f'torchvision.ops.nms: {first_line(error)}', fix)
    return Finding('ok', 'torch pair', 'torchvision computes with this torch')


def check_gpus() -> Iterator[Finding]:
    """Uses each GPU."""
    if import_error('torch') is not None:
        yield Finding('note', 'GPU', 'unknown, because torch cannot be imported')
        return
    torch, collect_env = import_module('torch'), import_module('torch.utils.collect_env')
    if not torch.cuda.is_available():
        yield judge_no_gpu(torch, collect_env.get_nvidia_driver_version(collect_env.run))
    for index in range(torch.cuda.device_count()):
        yield check_gpu(torch, index)


def judge_no_gpu(torch: Any, driver: str | None) -> Finding:
    """Checks GPUs: none is fine, a driver whose GPU torch does not see is not."""
    if driver is None:
        return Finding('note', 'GPU', 'none: training runs on the CPU')
    built_for = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPUs'
    found = f'driver {driver}, but torch {torch.__version__} (for {built_for}) sees no GPU'
    fix = (
        f'update the driver, or install the torch and torchvision for this driver: {GET_TORCH} '
        '(CUDA_VISIBLE_DEVICES also hides GPUs)'
    )
    return Finding('warning', 'GPU', found, fix)


def check_gpu(torch: Any, index: int) -> Finding:
    """Multiplies two matrices on one GPU."""
    properties = torch.cuda.get_device_properties(index)
    found = f'{properties.name}, {properties.total_memory / GIB:.0f} GiB'
    try:
        with torch.cuda.device(index):
            found += ', bf16' if torch.cuda.is_bf16_supported() else ', no bf16'
            ones = torch.ones(8, 8, device='cuda')
            torch.testing.assert_close(ones @ ones, 8 * ones)
    except (AssertionError, RuntimeError) as error:
        fix = f'install a torch that supports this GPU, or replace it: {GET_TORCH}'
        return Finding('FAULT', f'GPU {index}', f'{found}: {first_line(error)}', fix)
    return Finding('ok', f'GPU {index}', found)


def check_video() -> Iterator[Finding]:
    """Writes an H.264 video with PyAV, and reads it with each library."""
    if (unusable := import_error('vicmae.io.video')) is not None:
        yield Finding('note', 'video', f'not checked: {first_line(unusable)}')
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'probe.mp4'
        # The libraries raise their own classes, some of which derive from Exception only.
        try:
            scenes, np = import_module('vicmae.demo.scenes'), import_module('numpy')
            frame = np.zeros((scenes.FRAME_SIZE, scenes.FRAME_SIZE, 3), 'uint8')
            scenes.write_video(path, 8 * [frame])
        except Exception as error:
            fix = pip('install --force-reinstall --no-deps', 'av')
            yield Finding('FAULT', 'av', f'writing H.264: {first_line(error)}', fix)
            return
        yield check_reader('pyav', path)
        for name in VIDEO_READERS:
            if is_importable(name):
                yield check_reader(name, path)
            else:
                yield Finding('note', name, 'not installed (optional)', fix_reader(name))


def check_reader(name: str, path: Path) -> Finding:
    """Reads a video with one library; only PyAV is required."""
    try:
        with import_module('vicmae.io.video').open_video(str(path), name) as video:
            frames = video.frames(range(video.num_frames))
    except Exception as error:
        status: Status = 'FAULT' if name == 'pyav' else 'warning'
        fix = '' if name == 'pyav' else fix_reader(name)
        return Finding(status, name, f'reading H.264: {first_line(error)}', fix)
    dist = installed('av' if name == 'pyav' else name)
    version = f', version {dist.version}' if dist else ''
    return Finding('ok', name, f'reads H.264: {len(frames)} frames{version}')


def check_limits() -> Iterator[Finding]:
    """Checks the limits under which data loading and checkpoints fail."""
    shm, cwd = Path('/dev/shm'), Path.cwd()
    if shm.is_dir():
        size = shutil.disk_usage(shm).total
        fix = 'docker run --shm-size=8g (or --ipc=host), or: mount -o remount,size=8G /dev/shm'
        yield judge_limit('shared memory', size, GIB, 'data loader workers may die', fix)
    if sys.platform != 'win32':
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = sys.maxsize if limit == resource.RLIM_INFINITY else limit
        yield judge_limit('open files', limit, 4096, 'many workers may fail', 'ulimit -n 65536')
    fix = f'free some space in {cwd}, or give a --work-dir elsewhere'
    yield judge_limit('disk', shutil.disk_usage(cwd).free, 5 * GIB, 'checkpoints need more', fix)


def judge_limit(what: str, value: int, least: int, consequence: str, fix: str) -> Finding:
    """Warns of a limit that is too low for training. From 1 GiB on, `least` means bytes."""
    found = f'{value / GIB:.1f} GiB' if least >= GIB else str(value)
    if value >= least:
        return Finding('ok', what, found)
    return Finding('warning', what, f'{found}: {consequence}', fix)


def first_line(error: Exception) -> str:
    """Class and first line of an error's message."""
    return f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]
