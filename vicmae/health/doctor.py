# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`python -m vicmae doctor`: the whole state of a machine, and what would keep it from training.

Other than `vicmae.environment`, which reads metadata, this imports and uses what it judges: a video
is written and decoded, each GPU multiplies. It runs in a faulty environment, so nothing but the
standard library is imported at the top.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal, TextIO

from vicmae.environment import (
    REQUIRED,
    SUPERSEDED,
    VIDEO_READERS,
    Fault,
    find_faults,
    import_error,
    install,
    installed,
    is_importable,
    is_proven,
    mend_reader,
    pip,
    reinstall,
)
from vicmae.version import __version__

Status = Literal['ok', 'note', 'warning', 'FAULT']

COLOURS = {'ok': '32', 'note': '36', 'warning': '33', 'FAULT': '31;1'}
GIB = 1024**3

# OpenCV's windows want these. A machine without a desktop may lack them.
DESKTOP_LIBRARIES = ('libGL', 'libgthread', 'libxcb')

MIN_SHARED_MEMORY = 1 * GIB
MIN_OPEN_FILES = 4096
MIN_FREE_DISK = 5 * GIB


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        status: 'FAULT' means that training can't work before it is mended.
        what: What was looked at.
        found: What was found, in one line.
        mend: What to do about it, where something is to be done.
    """

    status: Status
    what: str
    found: str
    mend: str = ''


def run_doctor(stream: TextIO) -> int:
    """Print the report section by section, and return the exit status: 1 if training can't work.

    Args:
        stream: Where the report goes. It is coloured on a terminal only.
    """
    sections: dict[str, Callable[[], Iterator[Finding]]] = {
        'Machine': examine_machine,
        'Packages': examine_packages,
        'GPUs': examine_gpus,
        'Video': examine_video,
    }
    counts = dict.fromkeys(COLOURS, 0)
    for title, examine in sections.items():
        print(title, file=stream)
        waiting = '  looking ...'
        if stream.isatty():
            print(waiting, end='', flush=True, file=stream)
        findings = list(examine_safely(title, examine))
        if stream.isatty():
            print('\r' + ' ' * len(waiting), end='\r', file=stream)
        for finding in findings:
            counts[finding.status] += 1
            print(write_finding(finding, coloured=stream.isatty()), flush=True, file=stream)
    print(write_summary(counts['FAULT'], counts['warning']), file=stream)
    return 1 if counts['FAULT'] else 0


def examine_safely(title: str, examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Look at one section, whatever a half-installed package does on the way."""
    try:
        yield from examine()
    except Exception as error:
        found = f'looking ended with {first_line(error)}'
        yield Finding('FAULT', title, found, 'mend the faults above first, then look again')


def write_finding(finding: Finding, *, coloured: bool = False) -> str:
    """Write one finding as aligned columns, the mend on a line of its own."""
    status = f'{finding.status:<7}'
    if coloured:
        status = f'\033[{COLOURS[finding.status]}m{status}\033[0m'
    text = f'  {status}  {finding.what:<16}  {finding.found}'
    # The mend stands below what was found, behind the two columns and the gaps around them.
    return f'{text}\n{"":29}mend: {finding.mend}' if finding.mend else text


def write_summary(faults: int, warnings: int) -> str:
    """Write what the findings mean, in one line."""
    if faults:
        return f'Training cannot work here: {faults} fault(s), {warnings} warning(s).'
    return f'Training can work here: no faults, {warnings} warning(s).'


def examine_machine() -> Iterator[Finding]:
    """Look at the operating system and at the limits under which data loading breaks down."""
    yield Finding('ok', 'system', f'{platform.platform()}')
    yield Finding('ok', 'Python', f'{platform.python_version()}, {sys.executable}')
    yield Finding('ok', 'vicmae', f'{__version__}, {Path(__file__).parent}')
    yield Finding('ok', 'CPU cores', f'{count_cores()} of {os.cpu_count()} usable')
    memory = total_memory()
    if memory:
        yield Finding('ok', 'memory', f'{memory / GIB:.1f} GiB')
    yield from examine_shared_memory()
    yield from examine_open_files()
    yield judge_free_disk(shutil.disk_usage(Path.cwd()).free)


def count_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int | None:
    """Bytes of memory that this process may use, or None where that can't be asked."""
    if not hasattr(os, 'sysconf') or 'SC_PHYS_PAGES' not in os.sysconf_names:
        return None
    physical = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    # A container is killed at its own limit, long before the machine's memory is full.
    limit_file = Path('/sys/fs/cgroup/memory.max')
    limit = limit_file.read_text().strip() if limit_file.is_file() else 'max'
    return min(physical, int(limit)) if limit.isdigit() else physical


def examine_shared_memory() -> Iterator[Finding]:
    """Look at /dev/shm, through which data loader workers hand over their batches."""
    folder = Path('/dev/shm')
    if folder.is_dir():
        yield judge_shared_memory(shutil.disk_usage(folder).total)


def judge_shared_memory(size: int) -> Finding:
    """Judge the size of the shared memory, in bytes."""
    if size < MIN_SHARED_MEMORY:
        found = f'{size / GIB:.2f} GiB in /dev/shm: data loader workers die of "Bus error"'
        mend = 'docker run --shm-size=8g (or --ipc=host), or: mount -o remount,size=8G /dev/shm'
        return Finding('warning', 'shared memory', found, mend)
    return Finding('ok', 'shared memory', f'{size / GIB:.1f} GiB in /dev/shm')


def examine_open_files() -> Iterator[Finding]:
    """Look at the number of files that a process may open. Workers share tensors as open files."""
    if sys.platform != 'win32':
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield judge_open_files(sys.maxsize if soft == resource.RLIM_INFINITY else soft)


def judge_open_files(limit: int) -> Finding:
    """Judge the number of files that may be open at once."""
    if limit < MIN_OPEN_FILES:
        found = f'limit {limit}: many workers fail with "Too many open files"'
        return Finding('warning', 'open files', found, 'ulimit -n 65536')
    return Finding('ok', 'open files', f'limit {limit}')


def judge_free_disk(free: int) -> Finding:
    """Judge the free space of the current folder, in bytes. Checkpoints go there by default."""
    found = f'{free / GIB:.1f} GiB free in {Path.cwd()}'
    if free < MIN_FREE_DISK:
        mend = 'free some space, or give a --work-dir on another disk'
        return Finding('warning', 'disk', found, mend)
    return Finding('ok', 'disk', found)


def examine_packages() -> Iterator[Finding]:
    """Import what vicmae needs, and compare the versions."""
    faults = find_faults()
    for fault in faults:
        yield judge_fault(fault)
    for name, module in REQUIRED.items():
        yield examine_package(name, module, blame_faults=bool(faults))
    if import_error('torchvision') is None:
        yield examine_torch_pair()


def judge_fault(fault: Fault) -> Finding:
    """Turn a fault of the metadata into a finding. A suspicion that isn't proven is a warning."""
    found = f'{fault.what} (found: {fault.found})'
    return Finding('FAULT' if is_proven(fault) else 'warning', 'packages', found, fault.mend)


def examine_package(name: str, module: str, *, blame_faults: bool) -> Finding:
    """Import a package and compare the version that came with the one that is registered.

    Args:
        name: Name of the distribution.
        module: Name of the module that it installs.
        blame_faults: Whether faults were found before that are to be mended first.
    """
    dist = installed(name)
    error = import_error(module)
    if error is not None:
        missing = not dist and not is_importable(module)
        found = 'not installed' if missing else f'import fails: {first_line(error)}'
        return Finding('FAULT', name, found, mend_import(name, error, blame_faults))
    version = getattr(import_module(module), '__version__', None)
    registered = dist.version if dist else None
    if name in SUPERSEDED and version != registered:
        found = f'imports as {version}, but {registered} is registered'
        return Finding('FAULT', name, found, mend_import(name, None, blame_faults))
    return Finding('ok', name, str(version or registered))


def mend_import(name: str, error: Exception | None, blame_faults: bool) -> str:
    """The command that makes a package importable."""
    # mmengine and mmcv import OpenCV, and fail with its message.
    if any(library in str(error) for library in DESKTOP_LIBRARIES):
        swap = [pip('uninstall -y', 'opencv-python'), pip('install', 'opencv-python-headless')]
        return f'apt-get install libgl1 libglib2.0-0, or without root: {" && ".join(swap)}'
    if blame_faults:
        return 'mend the faults above first'
    dist = installed(name)
    return (reinstall([dist]) if dist else install([name]))[0]


def examine_torch_pair() -> Finding:
    """Call an operator of torchvision that is compiled against torch."""
    torch, torchvision = import_module('torch'), import_module('torchvision')
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    try:
        torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    except (AttributeError, RuntimeError) as error:
        mend = pip('install', '--force-reinstall', 'torch', 'torchvision')
        found = f'torchvision.ops.nms fails: {first_line(error)}'
        return Finding('FAULT', 'torch pair', found, mend)
    return Finding('ok', 'torch pair', 'torchvision computes with this torch')


def examine_gpus() -> Iterator[Finding]:
    """Look at each GPU, and let it calculate."""
    if import_error('torch') is not None:
        yield Finding('note', 'GPU', 'unknown, because torch cannot be imported')
        return
    torch = import_module('torch')
    driver = driver_version()
    if not torch.cuda.is_available():
        yield judge_no_gpu(torch, driver)
        return
    runtime = f'CUDA {torch.version.cuda}' if torch.version.cuda else f'ROCm {torch.version.hip}'
    yield Finding('ok', 'GPU runtime', f'{runtime}, driver {driver or "unknown"}')
    for index in range(torch.cuda.device_count()):
        yield examine_gpu(torch, index)


def driver_version() -> str | None:
    """Version of the NVIDIA driver, or None if there is none."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return None
    query = [program, '--query-gpu=driver_version', '--format=csv,noheader']
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout.split('\n')[0].strip() or None if answer.returncode == 0 else None


def judge_no_gpu(torch: ModuleType, driver: str | None) -> Finding:
    """Judge that torch sees no GPU: a fact, unless there is a driver for one.

    Args:
        torch: The module.
        driver: Version of the NVIDIA driver, if there is one.
    """
    if driver is None:
        return Finding('note', 'GPU', 'none: training runs on the CPU')
    made_for = f'CUDA {torch.version.cuda}' if torch.version.cuda else 'the CPU alone'
    found = f'driver {driver} is there, but torch {torch.__version__} (for {made_for}) sees no GPU'
    mend = (
        'update the driver, or install the torch and torchvision made for this driver: '
        'https://pytorch.org/get-started/locally (CUDA_VISIBLE_DEVICES also hides GPUs)'
    )
    return Finding('warning', 'GPU', found, mend)


def examine_gpu(torch: ModuleType, index: int) -> Finding:
    """Look at one GPU, and multiply two matrices on it."""
    properties = torch.cuda.get_device_properties(index)
    with torch.cuda.device(index):
        bf16 = 'bf16' if torch.cuda.is_bf16_supported() else 'no bf16'
    found = f'{properties.name}, {properties.total_memory / GIB:.0f} GiB, {bf16}'
    try:
        ones = torch.ones(8, 8, device=f'cuda:{index}')
        correct = bool((ones @ ones == 8).all())
    except RuntimeError as error:
        mend = 'install a torch that knows this GPU: https://pytorch.org/get-started/locally'
        return Finding('FAULT', f'GPU {index}', f'{found}: {first_line(error)}', mend)
    if not correct:
        return Finding('FAULT', f'GPU {index}', f'{found}: it calculates wrongly', 'replace it')
    return Finding('ok', f'GPU {index}', found)


def examine_video() -> Iterator[Finding]:
    """Write a small video, read it with each library, and look for FFmpeg."""
    error = import_error('vicmae.io.video')
    if error is None:
        yield from examine_readers()
    else:
        yield Finding('note', 'reading', f'not tried: {first_line(error)}')
    yield examine_ffmpeg()


def examine_readers() -> Iterator[Finding]:
    """Write an H.264 video with PyAV and read it with each library."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'probe.mp4'
        # The libraries raise classes of their own, some of which inherit from Exception alone.
        try:
            scenes, np = import_module('vicmae.demo.scenes'), import_module('numpy')
            scenes.write_video(
                path, 8 * [np.zeros((scenes.FRAME_SIZE, scenes.FRAME_SIZE, 3), 'uint8')]
            )
        except Exception as error:
            mend = pip('install --force-reinstall --no-deps', 'av')
            yield Finding('FAULT', 'writing', f'H.264: {first_line(error)}', mend)
            return
        yield examine_reader('pyav', path)
        for name in VIDEO_READERS:
            if is_importable(name):
                yield examine_reader(name, path)
            else:
                yield Finding('note', name, 'not installed (optional)', mend_reader(name))


def examine_reader(name: str, path: Path) -> Finding:
    """Read a video with one library. Training needs no more than one that works."""
    video_io = import_module('vicmae.io.video')
    try:
        with video_io.open_video(str(path), name) as video:
            frames = video.frames(range(video.num_frames))
    except Exception as error:
        status: Status = 'FAULT' if name == 'pyav' else 'warning'
        mend = '' if name == 'pyav' else mend_reader(name)
        return Finding(status, name, f'H.264: {first_line(error)}', mend)
    dist = installed('av' if name == 'pyav' else name)
    version = f' {dist.version}' if dist else ''
    return Finding(
        'ok', name, f'reads H.264: {len(frames)} frames{version and f", version{version}"}'
    )


def examine_ffmpeg() -> Finding:
    """Look for the FFmpeg program, which training doesn't need."""
    program = shutil.which('ffmpeg')
    if program is None:
        mend = 'apt-get install ffmpeg (torchcodec and some tests need it)'
        return Finding('note', 'FFmpeg', 'not installed (optional)', mend)
    answer = subprocess.run([program, '-version'], capture_output=True, text=True, check=False)
    return Finding('ok', 'FFmpeg', f'{answer.stdout.split(" Copyright")[0]}, {program}')


def first_line(error: Exception) -> str:
    """Class and first line of an error's message: the rest is for developers."""
    return f'{type(error).__name__}: {str(error).strip()}'.splitlines()[0]
